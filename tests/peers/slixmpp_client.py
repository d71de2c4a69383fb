#!/usr/bin/env python3
"""A scripted XMPP client: commands as JSON lines on stdin, events as JSON lines on stdout.

    slixmpp_client.py JID PASSWORD HOST PORT

JID may carry a resource. The connection is plain TCP: this is for servers on loopback.
By itself the client accepts subscriptions and confirms messages that ask for it (XEP-0184).

Commands ("ref", any value, comes back in the event that answers):
  {"do":"send","to","body","id"?,"thread"?,"receipt"?:true,"subject"?,"oob"?:URL,"type"?}
  {"do":"raw","xml"}                       write a stanza as it is
  {"do":"presence","show"?,"type"?,"to"?,"priority"?}
  {"do":"subscribe","to"} {"do":"unsubscribe","to"} {"do":"remove","to"} {"do":"roster"}
  {"do":"accept_all","on":true|false}      whether subscriptions are accepted by itself
  {"do":"accept","to"} {"do":"deny","to"}
  {"do":"receipts","on":true|false}        whether messages are confirmed by itself
  {"do":"disco","to","node"?,"what"?:"info"|"items"}
  {"do":"vcard","to"} {"do":"ping","to"} {"do":"version","to"}
  {"do":"gateway","to","prompt"?}          XEP-0100: ask, or resolve an address
  {"do":"command","to","node","session"?,"action"?,"fields"?:{name: text or list}}
  {"do":"upload","path","type"?}           XEP-0363, to the service of the own server
  {"do":"download","url"}                  the answer says size and SHA-256
  {"do":"quit"}

Events:
  {"ev":"online","jid"} {"ev":"offline"} {"ev":"failed","reason"}
  {"ev":"message","from","to","type","body","subject","id","origin_id","thread","delay",
   "oob":[URL...],"nick","receipt_wanted"}
  {"ev":"receipt","id","from"} {"ev":"error","id","from","condition","text","type"}
  {"ev":"presence","from","to","type","show","status","nick"}
  {"ev":"subscribe","from","status"}
  {"ev":"sent","id"} {"ev":"result","ref","do",...} {"ev":"problem","ref","do","reason"}
"""

import asyncio
import hashlib
import json
import os
import sys
import urllib.request
import xml.etree.ElementTree as ET

import slixmpp
from slixmpp.exceptions import IqError, IqTimeout
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

DISCO = "http://jabber.org/protocol/disco#"
COMMANDS = "http://jabber.org/protocol/commands"
FORMS = "jabber:x:data"
UPLOAD = "urn:xmpp:http:upload:0"
GATEWAY = "jabber:iq:gateway"
STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"


def tell(event, **fields):
    sys.stdout.write(json.dumps({"ev": event, **fields}, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def child(xml, namespace, name):
    return xml.find(f"{{{namespace}}}{name}")


class Client(slixmpp.ClientXMPP):
    def __init__(self, jid, password):
        super().__init__(jid, password, sasl_mech="PLAIN")
        self.enable_plaintext = True
        self.enable_direct_tls = False
        self.enable_starttls = False
        self.plugin["feature_mechanisms"].unencrypted_plain = True
        # Subscriptions and receipts are handled here, so that a test sees each of them.
        self.auto_authorize = None
        self.auto_subscribe = False
        self.accept_all = True
        self.confirm = True
        self.online = False
        self.register_plugin("xep_0030")
        self.register_plugin("xep_0199")
        self.plugin["xep_0030"].add_feature("urn:xmpp:receipts")
        self.add_event_handler("session_start", self.on_start)
        self.add_event_handler("disconnected", lambda _: tell("offline"))
        self.add_event_handler("failed_all_auth", self.on_no_entry)
        # The library's own event leaves out messages without a body, such as receipts.
        every_message = MatchXPath("{jabber:client}message")
        self.register_handler(Callback("every message", every_message, self.on_message))
        for kind in ("available", "unavailable", "subscribed", "unsubscribe", "unsubscribed", "error"):
            self.add_event_handler(f"presence_{kind}", self.on_presence)
        self.add_event_handler("presence_subscribe", self.on_subscribe)

    async def on_start(self, _):
        await self.get_roster()
        self.send_presence()

    def on_no_entry(self, _):
        tell("failed", reason="the server does not accept this password")
        self.disconnect()

    def on_message(self, message):
        xml = message.xml
        if message["type"] == "error":
            self.on_error(message)
            return
        for received in xml.findall("{urn:xmpp:receipts}received"):
            tell("receipt", id=received.get("id"), **{"from": str(message["from"])})
        body = child(xml, "jabber:client", "body")
        oob = [url.text for url in xml.iterfind("{jabber:x:oob}x/{jabber:x:oob}url")]
        if body is None and not oob:
            return
        text = lambda namespace, name: getattr(child(xml, namespace, name), "text", None)
        delay = child(xml, "urn:xmpp:delay", "delay")
        origin = child(xml, "urn:xmpp:sid:0", "origin-id")
        wanted = child(xml, "urn:xmpp:receipts", "request") is not None
        tell(
            "message",
            **{"from": str(message["from"])},
            to=str(message["to"]),
            type=xml.get("type", "normal"),
            body=None if body is None else (body.text or ""),
            subject=text("jabber:client", "subject"),
            id=xml.get("id"),
            origin_id=None if origin is None else origin.get("id"),
            thread=text("jabber:client", "thread"),
            delay=None if delay is None else delay.get("stamp"),
            oob=oob,
            nick=text("http://jabber.org/protocol/nick", "nick"),
            receipt_wanted=wanted,
        )
        if wanted and self.confirm and xml.get("id"):
            receipt = self.make_message(mto=message["from"], mtype=xml.get("type", "normal"))
            receipt.append(ET.Element("{urn:xmpp:receipts}received", {"id": xml.get("id")}))
            receipt.send()

    def on_error(self, message):
        error = message.xml.find("{jabber:client}error")
        condition, text = None, None
        for part in error if error is not None else []:
            if part.tag == f"{{{STANZAS}}}text":
                text = part.text
            elif part.tag.startswith(f"{{{STANZAS}}}"):
                condition = part.tag.split("}")[1]
        kind = None if error is None else error.get("type")
        tell("error", id=message.xml.get("id"), **{"from": str(message["from"])},
             condition=condition, text=text, type=kind)

    def on_presence(self, presence):
        if presence["from"] == self.boundjid:
            # Only once our own presence comes back do messages find their way here.
            if not self.online and presence["type"] == "available":
                self.online = True
                tell("online", jid=str(self.boundjid))
            return
        nick = child(presence.xml, "http://jabber.org/protocol/nick", "nick")
        status = child(presence.xml, "jabber:client", "status")
        tell("presence", **{"from": str(presence["from"])}, to=str(presence["to"]),
             type=presence["type"], show=getattr(child(presence.xml, "jabber:client", "show"), "text", None),
             status=None if status is None else status.text, nick=None if nick is None else nick.text)

    def on_subscribe(self, presence):
        status = child(presence.xml, "jabber:client", "status")
        tell("subscribe", **{"from": str(presence["from"])}, status=None if status is None else status.text)
        if self.accept_all:
            self.send_presence(pto=presence["from"].bare, ptype="subscribed")

    # Commands, one method each.

    def do_send(self, to, body=None, id=None, thread=None, receipt=False, subject=None, oob=None, type="chat"):
        message = self.make_message(mto=to, mbody=body, msubject=subject, mtype=type)
        message["id"] = id or self.new_id()
        if thread:
            message["thread"] = thread
        if receipt:
            message.append(ET.Element("{urn:xmpp:receipts}request"))
        if oob:
            x = ET.Element("{jabber:x:oob}x")
            ET.SubElement(x, "{jabber:x:oob}url").text = oob
            message.append(x)
        message.send()
        tell("sent", id=message["id"])

    def do_raw(self, xml):
        self.send_raw(xml)

    def do_presence(self, show=None, type=None, to=None, priority=None):
        self.send_presence(pshow=show, ptype=type, pto=to, ppriority=priority)

    def do_subscribe(self, to):
        self.send_presence(pto=to, ptype="subscribe")

    def do_unsubscribe(self, to):
        self.send_presence(pto=to, ptype="unsubscribe")

    def do_accept(self, to):
        self.send_presence(pto=to, ptype="subscribed")

    def do_deny(self, to):
        self.send_presence(pto=to, ptype="unsubscribed")

    def do_accept_all(self, on=True):
        self.accept_all = on

    def do_receipts(self, on=True):
        self.confirm = on

    async def do_remove(self, to):
        await self.del_roster_item(to)
        return {}

    async def do_roster(self):
        roster = self.client_roster
        return {"items": {jid: roster[jid]["subscription"] for jid in roster}}

    async def ask(self, kind, to, payload):
        iq = self.make_iq(ito=to, itype=kind)
        iq.append(payload)
        return (await iq.send(timeout=20)).xml

    async def do_disco(self, to, node=None, what="info"):
        attributes = {"node": node} if node else {}
        answer = await self.ask("get", to, ET.Element(f"{{{DISCO}{what}}}query", attributes))
        query = child(answer, DISCO + what, "query")
        parts = lambda name: [dict(x.attrib) for x in query.findall(f"{{{DISCO}{what}}}{name}")]
        return {
            "identities": parts("identity"),
            "features": [feature["var"] for feature in parts("feature")],
            "items": parts("item"),
        }

    async def do_vcard(self, to):
        answer = await self.ask("get", to, ET.Element("{vcard-temp}vCard"))
        card = child(answer, "vcard-temp", "vCard")
        text = lambda path: getattr(card.find(path), "text", None)
        ns = "{vcard-temp}"
        return {"fn": text(f"{ns}FN"), "nickname": text(f"{ns}NICKNAME"), "email": text(f"{ns}EMAIL/{ns}USERID")}

    async def do_ping(self, to):
        await self.ask("get", to, ET.Element("{urn:xmpp:ping}ping"))
        return {}

    async def do_version(self, to):
        answer = await self.ask("get", to, ET.Element("{jabber:iq:version}query"))
        query = child(answer, "jabber:iq:version", "query")
        return {"name": query.findtext("{jabber:iq:version}name"),
                "version": query.findtext("{jabber:iq:version}version")}

    async def do_gateway(self, to, prompt=None):
        query = ET.Element(f"{{{GATEWAY}}}query")
        if prompt is not None:
            ET.SubElement(query, f"{{{GATEWAY}}}prompt").text = prompt
        answer = await self.ask("get" if prompt is None else "set", to, query)
        query = child(answer, GATEWAY, "query")
        return {name: query.findtext(f"{{{GATEWAY}}}{name}") for name in ("desc", "prompt", "jid")}

    async def do_command(self, to, node, session=None, action=None, fields=None):
        attributes = {"node": node}
        if session:
            attributes["sessionid"] = session
        if action:
            attributes["action"] = action
        command = ET.Element(f"{{{COMMANDS}}}command", attributes)
        if fields is not None:
            form = ET.SubElement(command, f"{{{FORMS}}}x", {"type": "submit"})
            for name, values in fields.items():
                field = ET.SubElement(form, f"{{{FORMS}}}field", {"var": name})
                for value in values if isinstance(values, list) else [values]:
                    ET.SubElement(field, f"{{{FORMS}}}value").text = value
        answer = await self.ask("set", to, command)
        command = child(answer, COMMANDS, "command")
        form = child(command, FORMS, "x")
        found = [] if form is None else form.findall(f"{{{FORMS}}}field")
        return {
            "status": command.get("status"),
            "session": command.get("sessionid"),
            "notes": [note.text for note in command.findall(f"{{{COMMANDS}}}note")],
            "fields": [field.get("var") for field in found],
        }

    async def do_upload(self, path, type="application/octet-stream"):
        with open(path, "rb") as file:
            content = file.read()
        items = await self.do_disco(self.boundjid.domain, what="items")
        for item in items["items"]:
            info = await self.do_disco(item["jid"])
            if UPLOAD in info["features"]:
                break
        else:
            raise RuntimeError("the server has no upload service")
        request = ET.Element(
            f"{{{UPLOAD}}}request",
            {"filename": os.path.basename(path), "size": str(len(content)), "content-type": type},
        )
        slot = child(await self.ask("get", item["jid"], request), UPLOAD, "slot")
        put = child(slot, UPLOAD, "put")
        headers = {header.get("name"): header.text for header in put.findall(f"{{{UPLOAD}}}header")}
        upload = urllib.request.Request(
            put.get("url"), data=content, method="PUT", headers={**headers, "Content-Type": type}
        )
        await asyncio.to_thread(lambda: urllib.request.urlopen(upload, timeout=20).close())
        return {"url": child(slot, UPLOAD, "get").get("url")}

    async def do_download(self, url):
        content = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=20).read())
        return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    async def obey(self, command):
        name, ref = command.pop("do", None), command.pop("ref", None)
        method = getattr(self, f"do_{name}", None)
        try:
            if method is None:
                raise RuntimeError("no such command")
            answer = method(**command)
            if asyncio.iscoroutine(answer):
                tell("result", ref=ref, do=name, **await answer)
        except IqError as error:
            tell("problem", ref=ref, do=name, reason=error.condition, text=error.text)
        except IqTimeout:
            tell("problem", ref=ref, do=name, reason="no answer")
        except Exception as error:  # A test must see it rather than wait for its deadline.
            tell("problem", ref=ref, do=name, reason=repr(error))


async def main():
    jid, password, host, port = sys.argv[1:5]
    client = Client(jid, password)
    client.connect(host, int(port))
    lines = asyncio.StreamReader(limit=64 * 1024 * 1024)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    running = set()
    while line := await lines.readline():
        command = json.loads(line)
        if command.get("do") == "quit":
            break
        task = asyncio.create_task(client.obey(command))
        running.add(task)
        task.add_done_callback(running.discard)
    await client.disconnect(wait=1)


if __name__ == "__main__":
    asyncio.run(main())
