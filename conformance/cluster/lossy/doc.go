// Package lossy is a file system that forgets, as a disk does when the power
// fails: what a program wrote and did not sync is there for everybody until
// [FS.Cut], and then it is not.
//
// It is a FUSE file system over an ordinary folder, so that it works under any
// program, unchanged: maps, locks, sockets and all. The promises are those of
// POSIX and no more. fsync and fdatasync keep the bytes and the size of a file,
// but not its name; fsync of a folder keeps the names in it. Nothing is
// synced below: it is a test of programs, not of disks.
//
// The state before each change that is not synced yet is kept: old pages in
// memory, files that were removed or replaced in a folder of their own. A cut
// puts it back, all of it or by chance, page by page. Names go back in the order
// in which they changed, as on file systems with a journal.
package lossy
