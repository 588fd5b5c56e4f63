// Package cluster runs three real hermod processes as one cluster, breaks
// them and the network between them in seeded ways while stock clients publish
// and consume, and then accounts for every message.
//
// The nodes live in network namespaces that are joined by a switch in user
// space ([fabric]): links can be cut in one direction or both, slowed down and
// delayed, without touching the machine's own network. Where namespaces or TUN
// devices are not allowed the nodes listen on loopback addresses, and the
// schedules that need a network of their own are skipped, by name.
//
// Their disks are broken, too. On a tmpfs of their own ([volume]) they fill up;
// on a file system that forgets what was not synced ((package lossy)) the power fails, or
// a disk no longer answers. Where mounts or FUSE are not allowed these tests are
// skipped, by name. Other tests do what operators do: grow and shrink, upgrade
// from an older build, back up, restore, recover the last node.
//
// What must hold after the last fault and a complete drain ([history]):
//
//   - a message whose publish was confirmed is consumed at least once;
//   - a message whose settlement was confirmed is not delivered again;
//   - the messages of one publisher in one queue are first delivered in the
//     order in which they were published;
//   - the messages of a committed transaction are all there, those of one whose
//     commit was not answered are there all or not at all;
//   - nothing appears that was never published;
//   - a message that comes twice says so (redelivered, JMSRedelivered), and does not come
//     twice to a queue that was published to with MQTT's QoS 2;
//   - the definitions are equal, whichever node serves.
//
// An MQTT subscriber may get a message twice without DUP: a message that its
// publisher had to send again with QoS 1 is another one by the protocol, and a
// new node does not know which packet identifiers the old one had used.
//
// Two things are not judged of the standard SQS queue. Order is not promised
// there. And ApproximateReceiveCount, the only flag of a repetition that the
// protocol has, counts what the serving node has handed out: it begins again
// after a take-over, because a receive waits for no disk. A message that one
// life of a node hands out twice must say so.
//
// How many messages come twice is reported.
//
// Most clients here are our own choice of node around a library. Clients of other
// languages that know the nodes by the host list of their library are programs of
// conformance/clients, with an account of their own ([hostClient]).
//
// CLUSTER_ROUNDS sets the number of faults (default 12), CLUSTER_POWER_ROUNDS
// that of power cuts (6), CLUSTER_SEED repeats the choices of a run, which prints
// its seed. CLUSTER_SOAK=8h runs TestSoak for so long.
package cluster
