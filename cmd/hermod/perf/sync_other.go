//go:build !linux

package perf

import "os"

// dataSync makes the file durable.
func dataSync(f *os.File) error { return f.Sync() }
