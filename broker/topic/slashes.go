package topic

// Slashes translates between the names of MQTT, whose levels are separated by
// slashes and whose wildcards are + and #, and routing and binding keys, whose
// words are separated by dots and whose wildcards are * and #. It exchanges / with
// . and + with *, and nothing else: it is its own inverse, so that every name
// survives both ways. An MQTT topic a.b/c is the key a/b.c, the filter +/x is
// the pattern *.x, and a level that is a literal * is the word +.
//
// Slashes appends the translation of name to dst.
func Slashes[S ~string | ~[]byte](dst []byte, name S) []byte {
	at := len(dst)
	dst = append(dst, name...)
	for i, c := range dst[at:] {
		if swapped := slashes[c]; swapped != 0 {
			dst[at+i] = swapped
		}
	}
	return dst
}

var slashes = [256]byte{'/': '.', '.': '/', '+': '*', '*': '+'}
