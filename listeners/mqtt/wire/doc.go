// Package wire is the MQTT 3.1, 3.1.1 and 5.0 codec: all fifteen packet types
// in both directions, without I/O and without state.
//
// [Next] cuts a stream into packets; the Decode functions read the body of one
// packet into a small struct whose byte slices alias the input; the Append
// methods write whole packets behind a caller's slice. Decoding is strict and
// reports the reason code the specification asks for. A property block is
// checked once (identifier, type, place, repetition, UTF-8) and then kept as the
// raw bytes it came as, so that forwarding it is a copy.
//
// No function allocates more than a constant times the length of its input,
// and none panics whatever the input is.
package wire
