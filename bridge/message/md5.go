package message

import (
	"cmp"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"slices"
)

// MD5OfAttributes is the digest of attributes as the services report it; "" if
// there are none. The order of list does not matter.
func MD5OfAttributes(list []Attribute) string {
	if len(list) == 0 {
		return ""
	}
	byName := func(a, b Attribute) int { return cmp.Compare(a.Name, b.Name) }
	if !slices.IsSortedFunc(list, byName) {
		list = slices.Clone(list)
		slices.SortFunc(list, byName)
	}
	var b []byte
	part := func(p string) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	for i := range list {
		a := &list[i]
		part(a.Name)
		part(a.Type)
		if a.Binary() {
			b = append(b, 2)
		} else {
			b = append(b, 1)
		}
		b = binary.BigEndian.AppendUint32(b, uint32(len(a.Value)))
		b = append(b, a.Value...)
	}
	sum := md5.Sum(b)
	return hex.EncodeToString(sum[:])
}
