/*
 * A power cut for tests: what was not synced is not there afterwards.
 *
 * A killed process loses nothing that it wrote, because the page cache survives it. Loaded with
 * LD_PRELOAD, this keeps a second copy of the folder $UNSYNCED_ROOT in $UNSYNCED_IMAGE, which
 * holds only what a disk would have to hold:
 *
 * - Octets of a file reach the image when fsync or fdatasync of that file returns: the file is
 *   copied as it is then. A kernel may write back more and earlier; never less.
 * - Names are STRICT. A new name, a rename or a removal reaches the image only at fsync of the
 *   folder it is in, even for a file that was itself synced (ext4 is kinder there, POSIX is not).
 *   A name whose file was never synced is an empty file.
 * - One thing is as on ext4, XFS and btrfs rather than strict: syncing a folder also keeps the
 *   new folders above it, up to the root, though nothing else in them.
 *
 * Nothing needs to be known about single writes, so only the syncs are intercepted, and code that
 * writes by raw system calls is covered as well. sync_file_range promises nothing (its manual says
 * so) and keeps nothing here. O_SYNC, msync, sync and syncfs are not modelled: they keep nothing,
 * so that a program relying on them fails the test. SQLite's -shm is rebuilt and needs no sync.
 *
 * A folder with files in it is taken up by syncing all of it once under this, as
 * `find FOLDER -exec sync {} +` does, while nobody uses it.
 *
 * $UNSYNCED_IMAGE, which must hold an empty folder `inodes`, gets `tree`: the folder after the
 * cut. Its files are hard links to inodes/NUMBER-BIRTH. Nothing is held in memory, so several
 * processes may share an image; one lock file keeps them and their threads apart. The space is
 * that of every file ever synced. A copy that fails makes the sync fail with its errno.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int join(char *out, const char *folder, const char *name)
{
	int n = snprintf(out, PATH_MAX, "%s/%s", folder, name);

	if (n < 0 || n >= PATH_MAX) {
		errno = ENAMETOOLONG;
		return -1;
	}
	return 0;
}

/* Where the octets of this file are kept. Numbers are used again, so the birth belongs to it. */
static int inode_path(int at, const char *name, char *out)
{
	const char *image = getenv("UNSYNCED_IMAGE");
	struct statx s;
	int n;

	if (statx(at, name, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_INO | STATX_BTIME, &s))
		return -1;
	if (!(s.stx_mask & STATX_BTIME))
		memset(&s.stx_btime, 0, sizeof(s.stx_btime));
	n = snprintf(out, PATH_MAX, "%s/inodes/%llu-%lld.%u", image, (unsigned long long)s.stx_ino,
		     (long long)s.stx_btime.tv_sec, s.stx_btime.tv_nsec);
	if (n >= PATH_MAX) {
		errno = ENAMETOOLONG;
		return -1;
	}
	return 0;
}

/* Copies in place: a kill within it leaves octets of before and after, as a cut would. */
static int copy_octets(int from, int to)
{
	char buffer[1 << 16];
	off_t at = 0;
	ssize_t n;

	while ((n = pread(from, buffer, sizeof(buffer), at)) > 0) {
		for (ssize_t done = 0; done < n;) {
			ssize_t w = pwrite(to, buffer + done, (size_t)(n - done), at + done);

			if (w < 0)
				return -1;
			done += w;
		}
		at += n;
	}
	return n < 0 ? -1 : ftruncate(to, at);
}

static int keep_file(int fd)
{
	char path[PATH_MAX], self[64];
	int from = fd, to, result;

	if (inode_path(fd, "", path))
		return -1;
	/* Only what cannot be read is opened again: closing a second descriptor would release the
	 * record locks that SQLite holds on its database (fcntl(2)). */
	if ((fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY) {
		snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
		from = open(self, O_RDONLY | O_CLOEXEC);
		if (from < 0)
			return -1;
	}
	to = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	result = to < 0 ? -1 : copy_octets(from, to);
	if (to >= 0)
		close(to);
	if (from != fd)
		close(from);
	return result;
}

/* The folders of `relative` and those above it. */
static int keep_path(const char *tree, const char *relative)
{
	char path[PATH_MAX];

	if (mkdir(tree, 0700) && errno != EEXIST)
		return -1;
	if (join(path, tree, relative))
		return -1;
	for (char *p = path + strlen(tree) + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = 0;
		if (mkdir(path, 0700) && errno != EEXIST)
			return -1;
		*p = '/';
	}
	return mkdir(path, 0700) && errno != EEXIST ? -1 : 0;
}

/* One name of a synced folder, in the image under `to`. */
static int keep_name(int folder, const char *name, const char *to)
{
	char inode[PATH_MAX], staged[PATH_MAX];
	struct stat real, there;
	int fd;

	if (fstatat(folder, name, &real, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? 0 : -1; /* Removed meanwhile. */
	if (S_ISDIR(real.st_mode))
		return mkdir(to, 0700) && errno != EEXIST ? -1 : 0;
	if (!S_ISREG(real.st_mode))
		return 0;
	if (inode_path(folder, name, inode))
		return errno == ENOENT ? 0 : -1;
	fd = open(inode, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return -1;
	close(fd);
	if (stat(inode, &real))
		return -1;
	if (stat(to, &there) == 0 && there.st_ino == real.st_ino)
		return 0;
	/* A name is replaced in one step, as rename(2) promises. */
	snprintf(staged, sizeof(staged), "%s/staged", getenv("UNSYNCED_IMAGE"));
	unlink(staged);
	return link(inode, staged) || rename(staged, to) ? -1 : 0;
}

/* Names that the real folder no longer has. Folders are only removed empty. */
static int drop_names(int folder, const char *image)
{
	DIR *dir = opendir(image);
	struct dirent *entry;
	struct stat real;

	if (!dir)
		return -1;
	while ((entry = readdir(dir))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (fstatat(folder, entry->d_name, &real, AT_SYMLINK_NOFOLLOW) && errno == ENOENT &&
		    unlinkat(dirfd(dir), entry->d_name, 0))
			unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR);
	}
	return closedir(dir);
}

static int keep_folder(int fd, const char *relative)
{
	char tree[PATH_MAX], image[PATH_MAX], to[PATH_MAX];
	struct dirent *entry;
	int result = 0, again;
	DIR *dir;

	if (join(tree, getenv("UNSYNCED_IMAGE"), "tree") || keep_path(tree, relative) ||
	    join(image, tree, relative))
		return -1;
	again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = again < 0 ? NULL : fdopendir(again);
	if (!dir)
		return -1;
	while (!result && (entry = readdir(dir))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		result = join(to, image, entry->d_name) || keep_name(fd, entry->d_name, to) ? -1 : 0;
	}
	closedir(dir);
	return result ? result : drop_names(fd, image);
}

/* What a sync that succeeded promises, if it is about our folder. */
static int keep(int fd)
{
	const char *root = getenv("UNSYNCED_ROOT"), *image = getenv("UNSYNCED_IMAGE");
	char self[64], path[PATH_MAX], lock_path[PATH_MAX];
	int before = errno, lock, result;
	struct stat s;
	ssize_t n;

	if (!root || !image)
		return 0;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	n = readlink(self, path, sizeof(path) - 1);
	if (n < 0 || fstat(fd, &s))
		return -1;
	path[n] = 0;
	if (strncmp(path, root, strlen(root)) || (path[strlen(root)] && path[strlen(root)] != '/'))
		return 0;
	if (join(lock_path, image, "lock"))
		return -1;
	/* A descriptor of its own each time: flock(2) then holds between threads too. */
	lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (lock < 0 || flock(lock, LOCK_EX))
		return -1;
	if (S_ISDIR(s.st_mode))
		result = keep_folder(fd, path[strlen(root)] ? path + strlen(root) + 1 : "");
	else
		result = S_ISREG(s.st_mode) ? keep_file(fd) : 0;
	if (!result)
		errno = before;
	before = errno;
	close(lock);
	errno = before;
	return result;
}

#define SYNC(name)                                                     \
	int name(int fd)                                               \
	{                                                              \
		int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, #name); \
		int result = real(fd);                                 \
								       \
		return result ? result : keep(fd);                     \
	}

SYNC(fsync)
SYNC(fdatasync)
