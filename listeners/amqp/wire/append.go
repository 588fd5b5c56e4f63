package wire

import (
	"encoding/binary"
	"unicode/utf8"
)

// MaxShortstr is the greatest length of a shortstr in bytes.
const MaxShortstr = 255

// Truncate cuts s to what a shortstr can hold, at a character boundary.
func Truncate(s string) string {
	if len(s) <= MaxShortstr {
		return s
	}
	n := MaxShortstr
	for n > MaxShortstr-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

func appendShortstr(dst []byte, s string) []byte {
	s = Truncate(s)
	dst = append(dst, byte(len(s)))
	return append(dst, s...)
}

func appendLongstr(dst []byte, s string) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(s)))
	return append(dst, s...)
}

func appendShort(dst []byte, v uint16) []byte    { return binary.BigEndian.AppendUint16(dst, v) }
func appendLong(dst []byte, v uint32) []byte     { return binary.BigEndian.AppendUint32(dst, v) }
func appendLonglong(dst []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(dst, v) }

// bit returns 1<<n if set; methods pack consecutive bits from the lowest up.
func bit(set bool, n uint) byte {
	if set {
		return 1 << n
	}
	return 0
}
