// Package transport owns every socket of the broker. It accepts connections, runs them on gnet event loops, speaks PROXY
// protocol, TLS and WebSocket, bounds what is buffered in both directions, and hands plain bytes to protocol sessions that never
// see a socket.
//
// # Turns
//
// A connection belongs to one loop for life and its [Session] is called on that loop only, never re-entrantly, so a
// session needs no lock. A turn is one read of one socket, or one doorbell. Within a turn sessions decode, call the
// core and append output; at its end the loop drains its mailbox, calls [Session.EndTurn] on every session it touched,
// writes each connection's output with one write(2) and rings the loops this turn posted to.
//
// # Order between loops
//
// Every loop has exactly one mailbox. [Batch.Add] appends to the mailbox of the target's loop at once; whoever needs an
// order calls it while holding the lock that defines the order, such as a queue's. Only the doorbell is deferred, to
// [Batch.Flush]. Staging events per sender, or a short cut for events to the own loop, would reorder deliveries. The
// mailbox lock is a leaf in the lock order: nothing else is taken while it is held.
//
// At most one doorbell per loop is outstanding in gnet's task queues. Those queues neither keep order beyond 1024 tasks
// nor let sockets be served while they are flooded, so no data travels through them.
//
// # Layers
//
// Input climbs from the socket through PROXY protocol, TLS and WebSocket to the session; each is there only if the
// [Listener] says so, and Start waits for the last of them. Output goes down through the two that change it: WebSocket
// frames a message when the session gives it back with [Link.SetOut], TLS encrypts a turn's output at once. Whichever
// layer is lowest keeps what was read before a pause.
//
// # WebSocket
//
// The layer unmasks payload where it lies in the read buffer and hands it on at once: a message is never put together,
// so its size costs nothing, and its text is checked piece by piece. Pings are answered at the end of the turn, and not
// at all while the peer does not read. Every end that sends something sends a close frame last: 1000 when the session
// closes, 1001 at shutdown, 1008 when the session refuses its input, 1009 for [ErrFrameTooLarge], 1002, 1003 or 1007
// for [ErrWebSocket], and the peer's own code in answer to a close frame, which Closed reports as io.EOF. The server
// sends FIN right behind its close frame instead of waiting for the answer.
//
// # Back-pressure
//
// Output: [Link.Full] is true above 512 KiB; [Session.Drained] follows when less than 128 KiB are left. Input:
// [Link.Pause] takes the socket out of the loop's epoll set; what was read before that moment stays in the transport
// until [Link.Resume]. A peer that does not read is closed after [Listener.StallTimeout].
//
// # The end of a connection
//
// [Link.CloseAfterFlush], and an error from [Session.Receive], wait for the output to reach the kernel, run Closed, send
// FIN and throw away what still arrives for at most 2 seconds: closing a socket with unread input would send a reset,
// which can destroy the farewell. A peer that closes its writing half is taken for gone: what was answered within the
// same turn still reaches it, what would come later does not.
//
// # Pausing
//
// Pausing changes gnet's epoll registration directly, since gnet has no call for it. A self test at boot proves on
// every loop that this works. Where it does not (another operating system, a changed gnet), pausing degrades to holding
// back at most 1 MiB per connection and closing a peer that sends more.
package transport
