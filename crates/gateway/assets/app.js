// Live updates, countdowns and small comforts. Every page works without this file.
"use strict";

(() => {
  const body = document.body;
  const skew = Number(body.dataset.now || Date.now()) - Date.now();
  const status = document.getElementById("live-status");

  // What the server sent for each live region and each of its entries, before anybody opened a
  // fold or typed: an entry is replaced only when the server's version of it has changed.
  const sent = new Map();
  const remember = (root) => {
    for (const region of root.querySelectorAll("[data-live][id]")) {
      sent.set(region.id, region.innerHTML);
      for (const entry of region.children) if (entry.id) sent.set(entry.id, entry.outerHTML);
    }
  };
  remember(document);

  const say = (words) => {
    if (!status) return;
    status.textContent = words;
    status.hidden = !words;
  };

  // A way to find the same control again after its surroundings were replaced.
  const addressOf = (element) => {
    if (!element || element === body) return null;
    if (element.id) return `#${CSS.escape(element.id)}`;
    const entry = element.closest("[id]");
    const inside = entry ? `#${CSS.escape(entry.id)} ` : "";
    const tag = element.tagName.toLowerCase();
    if (element.getAttribute("href")) return `${inside}${tag}[href="${CSS.escape(element.getAttribute("href"))}"]`;
    if (element.name) return `${inside}${tag}[name="${CSS.escape(element.name)}"][value="${CSS.escape(element.value)}"]`;
    return entry ? inside.trim() : null;
  };

  const carryOver = (before, after) => {
    for (const fold of before.querySelectorAll("details[open][id]")) {
      const same = after.querySelector(`#${CSS.escape(fold.id)}`);
      if (same) same.open = true;
    }
    for (const field of before.querySelectorAll("input[id], textarea[id]")) {
      const same = after.querySelector(`#${CSS.escape(field.id)}`);
      if (same && field.type !== "file" && field.value !== field.defaultValue) same.value = field.value;
    }
  };

  const swapEntries = (region, fresh) => {
    const entries = [...fresh.children];
    entries.forEach((entry, place) => {
      const html = entry.outerHTML;
      const old = document.getElementById(entry.id);
      let node = entry;
      if (old && old.parentElement === region) {
        if (sent.get(entry.id) === html) node = old;
        else {
          carryOver(old, entry);
          old.replaceWith(entry);
        }
      }
      sent.set(entry.id, html);
      if (region.children[place] !== node) region.insertBefore(node, region.children[place] || null);
    });
    while (region.children.length > entries.length) region.lastElementChild.remove();
  };

  const swap = (fresh) => {
    const focus = addressOf(document.activeElement);
    for (const region of document.querySelectorAll("[data-live][id]")) {
      const other = fresh.getElementById(region.id);
      if (!other) continue;
      const html = other.innerHTML;
      if (sent.get(region.id) === html) continue;
      sent.set(region.id, html);
      const entries = [...other.children];
      const keyed = region.tagName === other.tagName && entries.length > 0 &&
        [...entries, ...region.children].every((entry) => entry.id);
      if (keyed) swapEntries(region, other);
      else {
        const scrolled = region.scrollTop;
        carryOver(region, other);
        if (region.tagName === other.tagName) region.replaceChildren(...other.childNodes);
        else region.replaceWith(document.adoptNode(other));
        region.scrollTop = scrolled;
      }
    }
    if (focus && (document.activeElement === body || !document.activeElement)) {
      const again = document.querySelector(focus);
      if (again) again.focus({ preventScroll: true });
    }
    const title = fresh.querySelector("title");
    if (title) document.title = title.textContent;
    markUnread();
    tick();
  };

  // The number of unread conversations in the tab's title.
  const markUnread = () => {
    const badge = document.querySelector("#unread .badge");
    const plain = document.title.replace(/^\(\d+\) /, "");
    const number = badge ? parseInt(badge.textContent, 10) : 0;
    document.title = number > 0 ? `(${number}) ${plain}` : plain;
  };

  let busy = false;
  let again = false;
  const refresh = async () => {
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    try {
      const answer = await fetch(location.href, { headers: { "X-Fragment": "1" }, credentials: "same-origin" });
      if (answer.redirected && new URL(answer.url).pathname !== location.pathname) {
        say("You are signed out. What you typed is kept: sign in again in another tab.");
      } else if (answer.ok) {
        swap(new DOMParser().parseFromString(await answer.text(), "text/html"));
        say("");
      }
    } catch {
      // The stream reconnects by itself and refreshes then.
    } finally {
      busy = false;
      if (again) {
        again = false;
        soon();
      }
    }
  };
  let timer = 0;
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(refresh, 120);
  };

  if (body.dataset.stream && "EventSource" in window) {
    let opened = false;
    let lost = 0;
    const connect = () => {
      const stream = new EventSource(body.dataset.stream);
      stream.onopen = () => {
        clearTimeout(lost);
        say("");
        if (opened) soon();
        opened = true;
      };
      stream.onmessage = soon;
      stream.addEventListener("change", soon);
      stream.onerror = () => {
        clearTimeout(lost);
        lost = setTimeout(() => say("Not connected: this page may be out of date."), 5000);
        // An answer other than 200 ends an EventSource for good.
        if (stream.readyState === EventSource.CLOSED) setTimeout(connect, 5000);
      };
      addEventListener("pagehide", () => stream.close(), { once: true });
    };
    connect();
    addEventListener("pageshow", (event) => {
      if (event.persisted) {
        connect();
        soon();
      }
    });
  }

  // Deadlines: how long it still takes, beside the time that the server wrote.
  const left = (ms) => {
    const minutes = Math.ceil(ms / 60000);
    if (ms <= 0) return " (any moment now)";
    if (minutes < 60) return ` (in ${minutes} min)`;
    const hours = Math.floor(minutes / 60);
    if (hours < 48) return ` (in ${hours} h${minutes % 60 ? ` ${minutes % 60} min` : ""})`;
    return ` (in ${Math.floor(hours / 24)} days)`;
  };
  const tick = () => {
    const now = Date.now() + skew;
    for (const element of document.querySelectorAll(".countdown[data-deadline]")) {
      const words = left(Number(element.dataset.deadline) - now);
      if (element.textContent !== words) element.textContent = words;
    }
  };
  tick();
  setInterval(tick, 15000);

  // On a screen too low for a pane of its own the whole page scrolls: begin at the newest there.
  const pane = document.querySelector(".scroll");
  if (pane && !location.hash && getComputedStyle(pane).overflowY === "visible") scrollTo(0, body.scrollHeight);

  // A message too long for the pane is read from its beginning.
  const newest = pane && pane.querySelector(".timeline > .entry:last-child");
  if (newest && !location.hash && newest.offsetHeight > pane.clientHeight) newest.scrollIntoView({ block: "start" });

  markUnread();

  // Drafts: what was typed survives leaving the page, until it is sent or the reader signs out.
  const key = (form) => `draft:${form.dataset.composer}`;
  const store = (name, value) => {
    try {
      if (value === null) sessionStorage.removeItem(name);
      else sessionStorage.setItem(name, value);
    } catch {
      // Storage may be full or forbidden; the page works without drafts.
    }
  };
  const load = (name) => {
    try {
      return sessionStorage.getItem(name);
    } catch {
      return null;
    }
  };

  let sending = false;
  for (const form of document.querySelectorAll("form[data-composer]")) {
    const text = form.querySelector("textarea");
    const files = form.querySelector("input[type=file]");
    const draft = load(key(form));
    if (load(`${key(form)}:sent`)) {
      // The answer to the last sending is this page: the draft has done its duty.
      store(key(form), null);
      store(`${key(form)}:sent`, null);
    } else if (draft && !text.value) {
      text.value = draft;
    }
    text.addEventListener("input", () => store(key(form), text.value || null));
    text.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        form.requestSubmit();
      }
    });
    form.addEventListener("submit", (event) => {
      if (!text.value.trim() && !(files && files.files.length)) {
        event.preventDefault();
        text.focus();
        return;
      }
      if (sending) {
        event.preventDefault();
        return;
      }
      sending = true;
      store(`${key(form)}:sent`, "1");
      for (const button of form.querySelectorAll("button")) button.setAttribute("aria-disabled", "true");
      // Nothing came back after half a minute: let them try again. The server recognises the repeat.
      setTimeout(() => {
        sending = false;
        for (const button of form.querySelectorAll("button")) button.removeAttribute("aria-disabled");
      }, 30000);
    });
    addEventListener("beforeunload", (event) => {
      // Text is kept as a draft; chosen files cannot be.
      if (!sending && files && files.files.length) event.preventDefault();
    });
  }
  addEventListener("pageshow", () => {
    sending = false;
    for (const button of document.querySelectorAll("button[aria-disabled]")) button.removeAttribute("aria-disabled");
  });

  for (const form of document.querySelectorAll("form[data-forget]")) {
    form.addEventListener("submit", () => {
      try {
        sessionStorage.clear();
      } catch {
        // Nothing was stored then.
      }
    });
  }

  // Menus close with Escape and by a click elsewhere, as menus do.
  const menus = () => document.querySelectorAll("details.account[open], details.people[open]");
  addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of menus()) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });
  addEventListener("click", (event) => {
    for (const menu of menus()) if (!menu.contains(event.target)) menu.open = false;
  });
})();
