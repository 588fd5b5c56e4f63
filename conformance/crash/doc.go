// Package crash kills the real broker hard, at random moments and many times,
// while clients publish, consume, dead-letter and use transactions, and then
// accounts for every message.
//
// What must hold after the last restart and a complete drain:
//
//   - a message whose publish was confirmed is consumed at least once, unless
//     its acknowledgement or its time to live ended it: none is lost;
//   - the messages of a committed transaction are all there, those of one
//     whose commit was not answered are there all or not at all;
//   - nothing appears that was never published.
//
// Acknowledgements are persisted lazily, so a message may come twice; how
// often is reported, not judged.
//
// TestCrashSTOMP does the same over STOMP: receipts, transactions that move a
// message from queue to queue or send to two, lists of destinations, a durable
// subscription. It kills half as often.
//
// CRASH_ROUNDS sets the number of kills (default 100), CRASH_SEED repeats the
// choices of a run, which prints its seed.
package crash
