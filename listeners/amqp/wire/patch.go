package wire

import "encoding/binary"

// PatchHeaders returns a copy of a raw property list in which the headers
// table was changed: entries called as one of set get its value, in place of
// the first and instead of the others of that name; entries named in remove
// are dropped, unless set has them; fields of set that were not found are
// appended in order. Names in set should differ, or the first wins. All other
// bytes are as they were. A list without headers gets a table only if there
// is something to set; a table that becomes empty stays.
func PatchHeaders(raw []byte, set []Field, remove []string) ([]byte, error) {
	return AppendPatchedHeaders(nil, raw, set, remove)
}

// AppendPatchedHeaders is PatchHeaders, appending the changed list to dst,
// which must not overlap raw.
func AppendPatchedHeaders(dst, raw []byte, set []Field, remove []string) ([]byte, error) {
	var p RawProperties
	if err := p.Decode(raw); err != nil {
		return dst, err
	}
	if !p.Has(PropHeaders) && len(set) == 0 {
		return append(dst, raw...), nil
	}
	lo, hi := p.place(PropHeaders)
	start := len(dst)
	dst = append(dst, raw[:lo]...)
	setFlags(dst[start:], p.Flags|PropHeaders)

	table := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = appendPatchedTable(dst, p.Headers(), set, remove)
	dst = patchLength(dst, table)
	return append(dst, raw[hi:]...), nil
}

func appendPatchedTable(dst []byte, t RawTable, set []Field, remove []string) []byte {
	var few [16]bool // on the stack, unless set is long
	done := append(few[:0], make([]bool, len(set))...)
	for {
		name, _, rest, ok := t.Next()
		if !ok {
			break
		}
		entry := t[:len(t)-len(rest)]
		t = rest
		switch i := fieldNamed(set, name); {
		case i >= 0 && !done[i]:
			dst = appendField(dst, &set[i])
			done[i] = true
		case i < 0 && !contains(remove, name):
			dst = append(dst, entry...)
		}
	}
	for i := range set {
		if first := fieldNamed(set, []byte(set[i].Name)); !done[first] {
			dst = appendField(dst, &set[i])
			done[first] = true
		}
	}
	return dst
}

// SetProperty returns a copy of a raw property list with one property added or
// replaced. value is a string for the shortstr properties, uint8 for
// delivery-mode and priority, a Timestamp, or a Table for headers; another
// type is a fault in the program and panics.
func SetProperty(raw []byte, x Property, value any) ([]byte, error) {
	return replaceProperty(raw, x, appendPropertyValue(nil, x, value))
}

// ClearProperty returns a copy of a raw property list without a property.
func ClearProperty(raw []byte, x Property) ([]byte, error) {
	return replaceProperty(raw, x, nil)
}

// replaceProperty puts the encoded value, or nothing if it is nil, in the
// place of x.
func replaceProperty(raw []byte, x Property, encoded []byte) ([]byte, error) {
	if !x.single() {
		panic("wire: not one property")
	}
	var p RawProperties
	if err := p.Decode(raw); err != nil {
		return nil, err
	}
	lo, hi := p.place(x)
	out := make([]byte, 0, len(raw)-(hi-lo)+len(encoded))
	out = append(out, raw[:lo]...)
	out = append(out, encoded...)
	out = append(out, raw[hi:]...)
	if encoded != nil {
		setFlags(out, p.Flags|x)
	} else {
		setFlags(out, p.Flags&^x)
	}
	return out, nil
}

// place returns where x is in the list or, as an empty range, where it belongs.
func (p *RawProperties) place(x Property) (lo, hi int) {
	if p.Has(x) {
		s := p.at[x.index()]
		return int(s.lo), int(s.hi)
	}
	lo = p.list
	for i := range x.index() {
		if s := p.at[i]; s.hi != 0 {
			lo = int(s.hi)
		}
	}
	return lo, lo
}

// setFlags rewrites the first flag word; whether another follows stays.
func setFlags(raw []byte, flags Property) {
	continues := Property(binary.BigEndian.Uint16(raw)) & flagContinues
	binary.BigEndian.PutUint16(raw, uint16(flags|continues))
}

// fieldNamed returns the place of the first field called name, or -1.
func fieldNamed(set []Field, name []byte) int {
	for i := range set {
		if set[i].Name == string(name) {
			return i
		}
	}
	return -1
}

func contains(names []string, name []byte) bool {
	for _, n := range names {
		if n == string(name) {
			return true
		}
	}
	return false
}
