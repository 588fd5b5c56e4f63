package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes. Text forms: 1048576, 1024KiB, 1MiB, 1GiB; KB, MB
// and GB are powers of ten.
type Size int64

var units = []struct {
	suffix string
	factor int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}, {"", 1},
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(text []byte) error {
	word := strings.TrimSpace(string(text))
	for _, u := range units {
		digits, ok := strings.CutSuffix(word, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n < 0 || n > math.MaxInt64/u.factor {
			return fmt.Errorf("size %q: want a number of bytes like 512MiB", word)
		}
		*s = Size(n * u.factor)
		return nil
	}
	return fmt.Errorf("size %q: want a number of bytes like 512MiB", word)
}

// Memory is a bound given in bytes or as a share of the machine's memory.
type Memory struct {
	Bytes   Size
	Percent int // 1..100; 0 if Bytes counts
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *Memory) UnmarshalText(text []byte) error {
	word := strings.TrimSpace(string(text))
	digits, ok := strings.CutSuffix(word, "%")
	if !ok {
		return m.Bytes.UnmarshalText(text)
	}
	n, err := strconv.Atoi(digits)
	if err != nil || n < 1 || n > 100 {
		return fmt.Errorf("memory %q: want 1%% to 100%% or a number of bytes", word)
	}
	m.Percent = n
	return nil
}

// Of returns the bound in bytes on a machine with total bytes.
func (m Memory) Of(total uint64) int64 {
	if m.Percent > 0 {
		return int64(total / 100 * uint64(m.Percent))
	}
	return int64(m.Bytes)
}
