// Package wire is the codec of STOMP 1.0, 1.1 and 1.2: it cuts frames out of
// bytes and appends frames to bytes. It does no I/O, knows no broker and
// allocates nothing per frame.
//
// # Reading
//
// A [Parser] is given the unread bytes of a connection and cuts one frame at a
// time off their head. Until a frame is complete it remembers how far it
// looked, so that a frame that arrives byte by byte is looked at once. A frame
// aliases its input. What the versions read differently (escapes, blanks
// around values) is done by [Frame.Decode] once the version is known, in
// place.
//
// # Writing
//
// Frames are appended piece by piece: [AppendCommand], [AppendHeader] and its
// siblings, [AppendBody]. Values are escaped as the peer's version can read
// them, and never end a line: a header cannot be forged through a value.
package wire
