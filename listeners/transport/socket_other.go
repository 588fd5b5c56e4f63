//go:build !linux

package transport

import (
	"net"
	"time"
)

// listenConfig has every accepted socket keep alive.
func listenConfig(string) net.ListenConfig {
	return net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount,
	}}
}

// setReadable does nothing here: the boot self test finds that out, and pausing works by holding back.
func setReadable(int, int, bool, bool) {}

// kernelUnsent is not told here.
func kernelUnsent(int) int { return 0 }

// setUserTimeout does nothing here: the system's own limits hold.
func setUserTimeout(int, time.Duration) {}
