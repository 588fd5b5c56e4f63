//go:build !linux

package transport

import "time"

// setReadable does nothing here: the boot self test finds that out, and pausing works by holding back.
func setReadable(int, int, bool, bool) {}

// setUserTimeout does nothing here: the system's own limits hold.
func setUserTimeout(int, time.Duration) {}
