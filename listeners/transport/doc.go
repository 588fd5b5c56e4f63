// Package transport owns every socket of the broker. It accepts connections, runs them on gnet event loops, speaks PROXY
// protocol and TLS, bounds what is buffered in both directions, and hands plain bytes to protocol sessions that never
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
// # Back-pressure
//
// Output: [Link.Full] is true above 512 KiB; [Session.Drained] follows when less than 128 KiB are left. Input:
// [Link.Pause] takes the socket out of the loop's epoll set; what was read before that moment stays in the transport
// until [Link.Resume].
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
