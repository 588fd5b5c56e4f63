package broker

// Table is an ordered list of named values: declare arguments, consumer
// arguments, message headers. Names may repeat; lookups take the first.
type Table []Field

// Field is one entry of a Table.
type Field struct {
	Name  string
	Value Value
}

// Value is one of: nil (void), bool, int8, uint8, int16, uint16, int32,
// uint32, int64, float32, float64, Decimal, string, []byte, Timestamp, Array,
// Table. The distinction between integer widths survives because error texts
// and round trips need it; comparisons in the core go by value.
type Value any

// Array is an ordered list of values.
type Array []Value

// Decimal is Value / 10^Scale.
type Decimal struct {
	Scale uint8
	Value int32
}

// Timestamp is POSIX time in seconds.
type Timestamp uint64

// Get returns the first value called name.
func (t Table) Get(name string) (Value, bool) {
	for i := range t {
		if t[i].Name == name {
			return t[i].Value, true
		}
	}
	return nil, false
}

// Int returns v as an integer if it is one of the integer kinds.
func Int(v Value) (int64, bool) {
	switch n := v.(type) {
	case int8:
		return int64(n), true
	case uint8:
		return int64(n), true
	case int16:
		return int64(n), true
	case uint16:
		return int64(n), true
	case int32:
		return int64(n), true
	case uint32:
		return int64(n), true
	case int64:
		return n, true
	}
	return 0, false
}
