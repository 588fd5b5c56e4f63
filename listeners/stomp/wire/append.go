package wire

import "strconv"

// AppendCommand begins a frame.
func AppendCommand(dst []byte, word string) []byte {
	dst = append(dst, word...)
	return append(dst, '\n')
}

// AppendHeader appends a header line, escaped for version v. V10 has no
// escapes: line ends become blanks there, and so does NUL everywhere.
func AppendHeader[T string | []byte](dst []byte, v Version, name string, value T) []byte {
	dst = AppendEscaped(dst, v, name, true)
	dst = append(dst, ':')
	dst = AppendEscaped(dst, v, value, false)
	return append(dst, '\n')
}

// AppendPlainHeader appends a header line whose name and value are known to
// need no escapes in any version, for example those of CONNECTED.
func AppendPlainHeader(dst []byte, name, value string) []byte {
	dst = append(dst, name...)
	dst = append(dst, ':')
	dst = append(dst, value...)
	return append(dst, '\n')
}

// AppendNumber appends a header line with a number.
func AppendNumber(dst []byte, name string, n int64) []byte {
	dst = append(dst, name...)
	dst = append(dst, ':')
	dst = strconv.AppendInt(dst, n, 10)
	return append(dst, '\n')
}

// AppendBody ends the headers and appends the body and the end of the frame,
// with the line end that both well-known brokers put behind it.
func AppendBody(dst, body []byte) []byte {
	dst = append(dst, '\n')
	dst = append(dst, body...)
	return append(dst, 0, '\n')
}

// AppendEscaped appends a header's name or value as version v writes it.
func AppendEscaped[T string | []byte](dst []byte, v Version, s T, name bool) []byte {
	from := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '\n' && c != ':' && c != '\\' && c != '\r' && c != 0 {
			continue
		}
		with := escapeOf(c, v, name)
		if with == "" {
			continue
		}
		dst = append(dst, s[from:i]...)
		dst = append(dst, with...)
		from = i + 1
	}
	return append(dst, s[from:]...)
}

// escapeOf is what stands for c in version v; "" is c itself.
func escapeOf(c byte, v Version, name bool) string {
	switch {
	case c == 0:
		return " "
	case v == V10:
		if c == '\n' || c == '\r' || c == ':' && name {
			return " "
		}
		return ""
	case c == '\n':
		return `\n`
	case c == ':':
		return `\c`
	case c == '\\':
		return `\\`
	case v == V11: // it has no escape for CR, which at the end of a line would be taken for a part of it
		return " "
	}
	return `\r`
}

// AppendLine appends a header line to lines in the canonical form in which
// messages keep theirs: name:value with the escapes of 1.2, ended by LF.
func AppendLine[T string | []byte](dst []byte, name string, value T) []byte {
	return AppendHeader(dst, V12, name, value)
}

// NextLine cuts the first header off lines in canonical form; both parts are
// still escaped. ok is false at the end, and if lines are malformed.
func NextLine(lines []byte) (name, value, rest []byte, ok bool) {
	for i, c := range lines {
		if c != ':' {
			continue
		}
		for j := i + 1; j < len(lines); j++ {
			if lines[j] == '\n' {
				return lines[:i], lines[i+1 : j], lines[j+1:], true
			}
		}
		break
	}
	return nil, nil, nil, false
}

// AppendUnescaped appends a part of a canonical line as it was before.
func AppendUnescaped(dst, s []byte) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '\\' && i+1 < len(s) {
			i++
			switch s[i] {
			case 'n':
				c = '\n'
			case 'c':
				c = ':'
			case 'r':
				c = '\r'
			default:
				c = s[i]
			}
		}
		dst = append(dst, c)
	}
	return dst
}

// AppendLineFor appends a canonical line as version v writes it.
func AppendLineFor(dst []byte, v Version, name, value []byte) []byte {
	dst = appendPart(dst, v, name, true)
	dst = append(dst, ':')
	dst = appendPart(dst, v, value, false)
	return append(dst, '\n')
}

func appendPart(dst []byte, v Version, part []byte, name bool) []byte {
	from := 0
	for i := 0; i+1 < len(part); i++ {
		if part[i] != '\\' {
			continue
		}
		if v == V12 || v == V11 && part[i+1] != 'r' {
			i++
			continue
		}
		dst = append(dst, part[from:i]...)
		var c [1]byte
		dst = AppendEscaped(dst, v, AppendUnescaped(c[:0], part[i:i+2]), name)
		i++
		from = i + 1
	}
	return append(dst, part[from:]...)
}
