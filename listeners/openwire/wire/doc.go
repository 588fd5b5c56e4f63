// Package wire is the codec of OpenWire, versions 1 to 12, in the loose
// encoding without cache. It is pure: bytes in, values out, no I/O, no
// logging, and only the standard library.
//
// A peer that offers neither tight encoding nor the cache makes both sides
// speak this form in both directions; no stock client can refuse it. Frames
// before and including WireFormatInfo are in this form anyway.
//
// # Reading
//
// A [Decoder] cuts one frame from the head of a buffer and decodes it to one
// of the structures below. What arrives once per message is decoded into
// memory of the Decoder, and strings that come again and again (ids of
// connections, names of destinations) are kept by it, so that the hot path
// does not allocate.
//
// # Writing
//
// [Append] appends a frame, [Begin] and [End] are for callers that write the
// inside themselves.
//
// # Null
//
// OpenWire tells null from empty. The zero value of an id or a destination is
// null; a string that was decoded as present and empty remembers it and
// is encoded so; a nil slice is null, an empty one is not. What is decoded and
// appended with the same [Format] comes out byte by byte as it was, except for
// strings in a form of UTF-8 that Java does not write.
//
// # Messages
//
// A [Message] keeps content and properties as the bytes they are. [Layout]
// tells where its fields stand in the frame, so that a broker can pass a
// message on with a few fields patched.
//
// # Hostile input
//
// Nothing here panics on input, reads past it, or allocates more than a
// constant times its length. Nesting is bounded. Class names of exceptions are
// text and nothing more.
package wire

//go:generate go run gen.go
