// Package wire is the codec of AMQP 0-9-1 as RabbitMQ and its clients speak
// it: frames, methods, content headers, field tables. It is pure: bytes in,
// values out, no I/O, no state, no logging, and only the standard library.
//
// # Reading
//
// [ParsePreamble] recognises the eight bytes a client opens with.
// [NextFrame] cuts one frame from the head of a buffer; its payload then goes
// to [DecodeMethod] (type 1), [ParseHeader] (type 2) or is a piece of a body
// (type 3). Methods that arrive once per message have allocation-free ways
// in: switch on [MethodIDOf], then [PublishView], [DeliverView] or the Decode
// method of a [BasicAck], [BasicNack] or [BasicReject] on the stack.
//
// # Writing
//
// Everything that writes has the form Append*(dst, ...) []byte. [AppendMethod]
// writes a whole frame; [AppendDeliver], [AppendGetOk], [AppendReturn] and
// [AppendPublish] write a method with its content header and body frames.
//
// # Content headers
//
// A broker keeps the property list of a message as the bytes it came in (the
// flag words and what follows, called raw here) so that every field type
// survives. [RawProperties] reads single properties from it, [PatchHeaders],
// [SetProperty] and [ClearProperty] make changed copies in which everything
// else is bit-exact, [ParseProperties] decodes it all.
//
// # Hostile input
//
// Nothing here panics on input, reads past it, or allocates more than a
// constant times its length. Errors are [*Error] and carry the reply code the
// peer deserves. Text in errors is bounded and never quotes input.
package wire

//go:generate go run gen.go
