package sns

import (
	"os"
	"syscall"
)

// blocks is the size on disk: files that are made large before they are
// written count for what is in them.
func blocks(info os.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return info.Size()
}
