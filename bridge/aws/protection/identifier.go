package protection

import (
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// finder returns the place of the next sensitive data in text that begin at
// from or behind; start is -1 if there are none.
type finder func(text string, from int) (start, end int)

// finders are the managed data identifiers that can be told by their form.
var finders = map[string]finder{
	"EmailAddress":                email,
	"CreditCardNumber":            card,
	"IpAddress":                   address,
	"AwsSecretKey":                words(isSecretKey, 40, "/+"),
	"OpenSshPrivateKey":           block("-----BEGIN OPENSSH PRIVATE KEY-----", "-----END OPENSSH PRIVATE KEY-----"),
	"PgpPrivateKey":               block("-----BEGIN PGP PRIVATE KEY BLOCK-----", "-----END PGP PRIVATE KEY BLOCK-----"),
	"PkcsPrivateKey":              pkcs,
	"PuttyPrivateKey":             block("PuTTY-User-Key-File-", "Private-MAC:"),
	"Ssn-US":                      shape("ddd-dd-dddd", isSSN),
	"PhoneNumber-US":              phone,
	"VehicleIdentificationNumber": words(isVIN, 17, ""),
	"BankAccountNumber-DE":        iban("DE", 22),
	"BankAccountNumber-ES":        iban("ES", 24),
	"BankAccountNumber-FR":        iban("FR", 27),
	"BankAccountNumber-GB":        iban("GB", 22),
	"BankAccountNumber-IT":        iban("IT", 27),
}

// Identifiers are the names of the managed data identifiers that are found.
func Identifiers() []string { return slices.Sorted(maps.Keys(finders)) }

// pattern finds what a regular expression matches, if that is not nothing.
func pattern(re *regexp.Regexp) finder {
	return func(text string, from int) (int, int) {
		for from <= len(text) {
			at := re.FindStringIndex(text[from:])
			if at == nil {
				break
			}
			if at[1] > at[0] {
				return from + at[0], from + at[1]
			}
			from += at[1] + 1
		}
		return -1, -1
	}
}

func digit(c byte) bool { return c >= '0' && c <= '9' }
func upper(c byte) bool { return c >= 'A' && c <= 'Z' }
func lower(c byte) bool { return c >= 'a' && c <= 'z' }
func alnum(c byte) bool { return digit(c) || upper(c) || lower(c) }

// words finds runs of letters and digits, and of what else is given, that have
// a length and are a kind of number.
func words(is func(word string) bool, length int, also string) finder {
	member := func(c byte) bool { return alnum(c) || strings.IndexByte(also, c) >= 0 }
	return func(text string, from int) (int, int) {
		for i := from; i < len(text); i++ {
			if !member(text[i]) || i > 0 && member(text[i-1]) {
				continue
			}
			end := i
			for end < len(text) && member(text[end]) {
				end++
			}
			if end-i == length && is(text[i:end]) {
				return i, end
			}
			i = end
		}
		return -1, -1
	}
}

// card finds numbers of payment cards: 13 to 19 digits, in one or in groups
// with single spaces or hyphens between them, whatever groups are around.
func card(text string, from int) (int, int) {
	for i := from; i < len(text); i++ {
		if text[i] < '2' || text[i] > '6' || i > 0 && alnum(text[i-1]) {
			continue
		}
		var digits [20]byte
		n := 0
		for j := i; j < len(text) && n < len(digits); j++ {
			c := text[j]
			next := j+1 < len(text) && alnum(text[j+1])
			switch {
			case digit(c):
				digits[n] = c
				n++
				if !next && n >= 13 && n <= 19 && isCard(digits[:n]) {
					return i, j + 1
				}
				continue
			case (c == ' ' || c == '-') && next && digit(text[j-1]):
				continue
			}
			n = len(digits)
		}
	}
	return -1, -1
}

// isCard checks the digit of Luhn (ISO/IEC 7812-1 annex B).
func isCard(digits []byte) bool {
	sum := 0
	for i := range digits {
		d := int(digits[len(digits)-1-i] - '0')
		if i%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}

// isSecretKey reports whether s looks like the secret of an access key: letters
// of both cases and digits.
func isSecretKey(s string) bool {
	var has [3]bool
	for i := range len(s) {
		has[0], has[1], has[2] = has[0] || upper(s[i]), has[1] || lower(s[i]), has[2] || digit(s[i])
	}
	return has[0] && has[1] && has[2]
}

// isVIN checks the check digit of a vehicle identification number (ISO 3779 as
// in North America).
func isVIN(s string) bool {
	weights := [17]int{8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2}
	const letters, values = "ABCDEFGHJKLMNPRSTUVWXYZ", "12345678123457923456789"
	sum, letter := 0, false
	for i := range len(s) {
		v := 0
		switch j := strings.IndexByte(letters, s[i]); {
		case digit(s[i]):
			v = int(s[i] - '0')
		case j >= 0:
			v, letter = int(values[j]-'0'), true
		default:
			return false
		}
		sum += v * weights[i]
	}
	return letter && s[8] == "0123456789X"[sum%11]
}

// email finds addresses of mail: dot-atom, at, and a domain of two labels at
// least (RFC 5321 sections 4.1.2, 4.5.3.1).
func email(text string, from int) (int, int) {
	for at := from; ; at++ {
		i := strings.IndexByte(text[min(at, len(text)):], '@')
		if i < 0 {
			return -1, -1
		}
		at += i
		start := at
		for start > from && at-start < 64 && (alnum(text[start-1]) || strings.IndexByte(".!#$%&'*+/=?^_`{|}~-", text[start-1]) >= 0) {
			start--
		}
		for start < at && strings.IndexByte(`.'{}|=`, text[start]) >= 0 { // what is around it rather than part of it
			start++
		}
		end, dot := at+1, 0
		for end < len(text) && end-at <= 255 && (alnum(text[end]) || text[end] == '-' || text[end] == '.' && text[end-1] != '.' && text[end-1] != '@') {
			if text[end] == '.' {
				dot = end
			}
			end++
		}
		if dot == end-1 && dot > 0 { // the end of a sentence
			end--
			dot = strings.LastIndexByte(text[:end], '.')
		}
		top := 0
		for top < end-dot-1 && (lower(text[dot+1+top]) || upper(text[dot+1+top])) {
			top++
		}
		if start < at && dot > at+1 && top >= 2 && dot+1+top == end {
			return start, end
		}
	}
}

// address finds IPv4 and IPv6 addresses.
func address(text string, from int) (int, int) {
	part := func(c byte) bool {
		return digit(c) || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' || c == ':' || c == '.'
	}
	for i := from; i < len(text); {
		if !part(text[i]) {
			i++
			continue
		}
		end := i
		for end < len(text) && part(text[end]) {
			end++
		}
		start, stop := i, end
		i = end
		for stop > start && text[stop-1] == '.' {
			stop--
		}
		word := text[start:stop]
		if strings.Count(word, ".") == 3 { // a port may follow, a name of a field may be in front
			if j := strings.IndexByte(word, ':'); j > strings.LastIndexByte(word, '.') {
				word = word[:j]
			}
		}
		if start > 0 && alnum(text[start-1]) || start+len(word) < len(text) && alnum(text[start+len(word)]) {
			continue
		}
		if len(word) < 3 || len(word) > 45 {
			continue
		}
		if a, err := netip.ParseAddr(word); err == nil && a.IsValid() {
			return start, start + len(word)
		}
	}
	return -1, -1
}

// block finds what begins and ends with a line of its own; to the end of the
// text if that is missing.
func block(begin, end string) finder {
	return func(text string, from int) (int, int) {
		i := strings.Index(text[min(from, len(text)):], begin)
		if i < 0 {
			return -1, -1
		}
		start := from + i
		j := strings.Index(text[start:], end)
		if j < 0 {
			return start, len(text)
		}
		return start, start + j + len(end)
	}
}

// pkcs finds private keys of PKCS #1 and #8 and of the forms beside them.
func pkcs(text string, from int) (start, end int) {
	const begin = "-----BEGIN "
	for {
		i := strings.Index(text[min(from, len(text)):], begin)
		if i < 0 {
			return -1, -1
		}
		start = from + i
		from = start + len(begin)
		for _, kind := range []string{"", "RSA ", "EC ", "DSA ", "ENCRYPTED "} {
			if line := kind + "PRIVATE KEY-----"; strings.HasPrefix(text[from:], line) {
				return block(begin+line, "-----END "+line)(text, start)
			}
		}
	}
}

// shape finds digits and hyphens in a form, standing alone; spaces may be in
// place of the hyphens.
func shape(form string, is func(s string) bool) finder {
	return func(text string, from int) (int, int) {
		for i := from; i+len(form) <= len(text); i++ {
			if !digit(text[i]) || i > 0 && (alnum(text[i-1]) || text[i-1] == '-') {
				continue
			}
			end := i + len(form)
			ok := end == len(text) || !alnum(text[end]) && text[end] != '-'
			for j := 0; ok && j < len(form); j++ {
				c := text[i+j]
				ok = form[j] == 'd' && digit(c) || form[j] == '-' && (c == '-' || c == ' ')
			}
			if ok && is(text[i:end]) {
				return i, end
			}
		}
		return -1, -1
	}
}

// isSSN knows the numbers that are never given out.
func isSSN(s string) bool {
	return s[:3] != "000" && s[:3] != "666" && s[0] != '9' && s[4:6] != "00" && s[7:] != "0000"
}

// phone finds numbers of the North American plan as they are written.
func phone(text string, from int) (int, int) {
	for i := from; i < len(text); i++ {
		c := text[i]
		if !digit(c) && c != '+' && c != '(' || i > 0 && (alnum(text[i-1]) || strings.IndexByte("-.+", text[i-1]) >= 0) {
			continue
		}
		if end := phoneAt(text, i); end >= 0 && (end == len(text) || !alnum(text[end]) && text[end] != '-') {
			return i, end
		}
	}
	return -1, -1
}

// phoneAt is the end of a number that begins at i, -1 if none does: perhaps the
// code of the country, that of the area, in parentheses or not, and seven
// digits, with separators.
func phoneAt(text string, i int) int {
	byteAt := func(i int) byte {
		if i < len(text) {
			return text[i]
		}
		return 0
	}
	separator := func(i int) bool { return strings.IndexByte(" .-", byteAt(i)) >= 0 && byteAt(i) != 0 }
	three := func(i int) bool {
		return byteAt(i) >= '2' && digit(byteAt(i)) && digit(byteAt(i+1)) && digit(byteAt(i+2))
	}
	plus := byteAt(i) == '+'
	if plus {
		i++
	}
	switch {
	case byteAt(i) == '1':
		if i++; separator(i) {
			i++
		}
	case plus:
		return -1
	}
	if byteAt(i) == '(' {
		if !three(i+1) || byteAt(i+4) != ')' {
			return -1
		}
		if i += 5; byteAt(i) == ' ' {
			i++
		}
	} else {
		if !three(i) || !separator(i+3) {
			return -1
		}
		i += 4
	}
	if !three(i) || !separator(i+3) {
		return -1
	}
	i += 4
	for range 4 {
		if !digit(byteAt(i)) {
			return -1
		}
		i++
	}
	return i
}

// iban finds account numbers of a country with the right check digits
// (ISO 13616, ISO/IEC 7064 MOD 97-10), in one or in groups of four.
func iban(country string, length int) finder {
	return func(text string, from int) (int, int) {
		for from < len(text) {
			i := strings.Index(text[from:], country)
			if i < 0 {
				break
			}
			start := from + i
			from = start + 1
			if start > 0 && alnum(text[start-1]) {
				continue
			}
			var compact []byte
			end := start
			for end < len(text) && len(compact) < length {
				c := text[end]
				if c == ' ' && len(compact)%4 == 0 && len(compact) > 0 && text[end-1] != ' ' {
					end++
					continue
				}
				if !digit(c) && !upper(c) {
					break
				}
				compact = append(compact, c)
				end++
			}
			if len(compact) == length && (end == len(text) || !alnum(text[end])) && mod97(compact) {
				return start, end
			}
		}
		return -1, -1
	}
}

func mod97(s []byte) bool {
	n := 0
	for i := range s {
		switch c := s[(i+4)%len(s)]; {
		case digit(c):
			n = (n*10 + int(c-'0')) % 97
		default:
			n = (n*100 + int(c-'A') + 10) % 97
		}
	}
	return n == 1
}
