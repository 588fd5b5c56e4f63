//go:build unix && !linux

package vfs

// Allocate grows the file; the systems other than Linux have no common way to
// reserve its blocks.
func (f osFile) Allocate(size int64) error { return f.grow(size) }
