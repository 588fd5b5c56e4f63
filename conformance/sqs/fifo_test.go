package sqs

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// SQS-35: delays of FIFO queues are those of the queue.
func TestSQS35_FifoDelay(t *testing.T) {
	w := open(t)
	url := w.fifo("DelaySeconds", "1")
	_, err := w.trySend(url, "x", group("g", "d"), func(in *sqs.SendMessageInput) { in.DelaySeconds = 2 })
	refused(t, err, "InvalidParameterValue",
		"Value 2 for parameter DelaySeconds is invalid. Reason: The request include parameter that is not valid for this queue type.")
	at := time.Now()
	w.json("/", "SendMessage", `{"QueueUrl":"`+url+`","MessageBody":"x","MessageGroupId":"g","MessageDeduplicationId":"e","DelaySeconds":0}`, nil).has(t, 200)
	w.collect(url, 1)
	if took := time.Since(at); took < 950*time.Millisecond {
		t.Errorf("came after %v", took)
	}
}

// SQS-32: a handle of a FIFO queue ends with its lease.
func TestSQS32_ExpiredHandle(t *testing.T) {
	w := open(t)
	url := w.fifo()
	w.sendGroups(url, "g-1")
	m := w.collect(url, 1, visible(1))[0]
	pause(1300 * time.Millisecond)
	refused(t, w.remove(url, m), "InvalidParameterValue", "Value "+*m.ReceiptHandle+" for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.")
	m = w.collect(url, 1, visible(1))[0]
	if err := w.change(url, m, 10); err != nil {
		t.Fatal(err)
	}
	pause(1300 * time.Millisecond)
	if err := w.remove(url, m); err != nil {
		t.Error(err)
	}
	if err := w.remove(url, m); err != nil {
		t.Errorf("twice: %v", err)
	}
}

// SQS-39: order within groups, with many consumers.
func TestSQS39_Order(t *testing.T) {
	for _, consumers := range []int{1, 10} {
		w := open(t)
		url := w.fifo()
		const groups, each = 5, 20
		for i := range each {
			var list []types.SendMessageBatchRequestEntry
			for g := range groups {
				list = append(list, types.SendMessageBatchRequestEntry{
					Id: aws.String(fmt.Sprint(g)), MessageBody: aws.String(fmt.Sprint(g, " ", i)),
					MessageGroupId: aws.String(fmt.Sprint("g", g)), MessageDeduplicationId: aws.String(fmt.Sprint(g, "-", i)),
				})
			}
			if out, err := w.sendBatch(url, list); err != nil || len(out.Successful) != groups {
				t.Fatalf("%v, %v", out, err)
			}
		}
		var mu sync.Mutex
		next, total := map[int]int{}, 0
		var all sync.WaitGroup
		for range consumers {
			all.Go(func() {
				for {
					list, err := w.tryReceive(url, 3, wait(1))
					if err != nil || len(list) == 0 {
						return
					}
					for _, m := range list {
						var g, i int
						_, _ = fmt.Sscan(*m.Body, &g, &i)
						mu.Lock()
						if next[g] != i {
							t.Errorf("group %d: %d, want %d", g, i, next[g])
						}
						next[g]++
						total++
						mu.Unlock()
						if err := w.remove(url, m); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		all.Wait()
		if total != groups*each {
			t.Errorf("%d messages", total)
		}
	}
}

// SQS-39, SQS-45, SQS-42: order, numbers and deduplication outlive a kill.
func TestSQS39_Restart(t *testing.T) {
	b := start(t)
	w := &world{t, client(t, "http://"+b.Addr("aws"), root), "http://" + b.Addr("aws")}
	url := w.fifo("VisibilityTimeout", "1")
	last := ""
	send := func(i int) {
		out := w.send(url, fmt.Sprint(i), group("g", fmt.Sprint("d", i)))
		if len(*out.SequenceNumber) != 20 || *out.SequenceNumber <= last {
			t.Errorf("number %s after %s", *out.SequenceNumber, last)
		}
		last = *out.SequenceNumber
	}
	for i := range 5 {
		send(i)
	}
	m := w.collect(url, 1)[0]
	if err := w.remove(url, m); err != nil {
		t.Fatal(err)
	}
	b.Kill()
	if err := b.Restart(); err != nil {
		t.Fatal(err)
	}
	w.Client, w.at = client(t, "http://"+b.Addr("aws"), root), "http://"+b.Addr("aws")
	for i := 5; i < 8; i++ {
		send(i)
	}
	again := w.send(url, "again", group("g", "d0"))
	if *again.MessageId != *m.MessageId || *again.SequenceNumber != m.Attributes["SequenceNumber"] {
		t.Errorf("%s %s, want %s %s", *again.MessageId, *again.SequenceNumber, *m.MessageId, m.Attributes["SequenceNumber"])
	}
	var got []string
	for len(got) < 7 {
		list := w.collect(url, 1)
		for _, m := range list {
			got = append(got, *m.Body)
			if err := w.remove(url, m); err != nil {
				t.Fatal(err)
			}
		}
	}
	if s := strings.Join(got, " "); s != "1 2 3 4 5 6 7" {
		t.Errorf("%s", s)
	}
}

// SQS-40: what locks a group, and what unlocks it.
func TestSQS40_Locking(t *testing.T) {
	w := open(t)
	t.Run("a batch takes a group as a whole", func(t *testing.T) {
		url := w.fifo()
		w.sendGroups(url, "1-a 2-a 1-b 1-c")
		if got := bodies(w.collect(url, 4)); got != "1-a 1-b 1-c 2-a" {
			t.Error(got)
		}
	})
	t.Run("new messages do not unlock, the last delete does", func(t *testing.T) {
		url := w.fifo()
		w.sendGroups(url, "1-a 1-b")
		m := w.collect(url, 1)[0]
		w.sendGroups(url, "1-c")
		if list := w.receive(url, 10); len(list) != 0 {
			t.Errorf("%s", bodies(list))
		}
		done := make(chan string)
		go func() {
			list, _ := w.tryReceive(url, 10, wait(20))
			done <- bodies(list)
		}()
		pause(200 * time.Millisecond)
		if err := w.remove(url, m); err != nil {
			t.Error(err)
		}
		if got := <-done; got != "1-b 1-c" {
			t.Errorf("%q", got)
		}
	})
	for i, want := range []string{"", "1-foo", "1-foo 1-bar"} {
		t.Run(fmt.Sprint("extending number ", i), func(t *testing.T) {
			url := w.fifo()
			w.sendGroups(url, "1-foo 1-bar 1-baz")
			list := w.collect(url, 3, visible(1))
			if err := w.change(url, list[i], 60); err != nil {
				t.Fatal(err)
			}
			pause(1300 * time.Millisecond)
			if got := bodies(w.receive(url, 10)); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
	t.Run("what is given back is deliverable though a later one is out", func(t *testing.T) {
		url := w.fifo()
		w.sendGroups(url, "1-a 1-b")
		list := w.collect(url, 2)
		if err := w.change(url, list[0], 0); err != nil {
			t.Fatal(err)
		}
		if got := bodies(w.receive(url, 10)); got != "1-a" {
			t.Errorf("%q", got)
		}
	})
	t.Run("the timeout unlocks", func(t *testing.T) {
		url := w.fifo()
		w.sendGroups(url, "1-a 1-b")
		w.collect(url, 1, visible(1))
		pause(1300 * time.Millisecond)
		if got := bodies(w.receive(url, 10)); got != "1-a 1-b" {
			t.Errorf("%q", got)
		}
	})
	t.Run("other groups go on", func(t *testing.T) {
		url := w.fifo()
		w.sendGroups(url, "1-a 1-b 2-a")
		w.collect(url, 1)
		if got := bodies(w.receive(url, 10)); got != "2-a" {
			t.Errorf("%q", got)
		}
	})
}

// SQS-41: groups take turns.
func TestSQS41_Rotation(t *testing.T) {
	w := open(t)
	url := w.fifo()
	w.sendGroups(url, "1-a 1-b 2-a 2-b 3-a")
	w.until("all are there", func() bool { return w.attributes(url, "All")["ApproximateNumberOfMessages"] == "5" })
	raw := w.json("/", "ReceiveMessage", `{"QueueUrl":"`+url+`","VisibilityTimeout":0,"MaxNumberOfMessages":3}`, nil)
	if !inOrder(raw.body, `"1-a"`, `"1-b"`, `"2-a"`) || strings.Contains(raw.body, `"2-b"`) {
		t.Errorf("%v", raw)
	}
	raw = w.json("/", "ReceiveMessage", `{"QueueUrl":"`+url+`","VisibilityTimeout":0,"MaxNumberOfMessages":10}`, nil)
	if !inOrder(raw.body, `"3-a"`, `"1-a"`, `"1-b"`, `"2-a"`, `"2-b"`) {
		t.Errorf("%v", raw)
	}
}

// inOrder reports whether the parts stand in s one behind the other.
func inOrder(s string, parts ...string) bool {
	for _, p := range parts {
		i := strings.Index(s, p)
		if i < 0 {
			return false
		}
		s = s[i+len(p):]
	}
	return true
}

// SQS-42: a client sees the window of five minutes end, and not before. The
// broker's clock goes on while it is down; between the sends whose ids are the
// same the test has three minutes of its own.
func TestSQS42_WindowEnds(t *testing.T) {
	ours(t)
	dir, offsets := t.TempDir(), []string{"0s", "2m", "301s"}
	url := map[bool]string{}
	first := map[bool]*sqs.SendMessageOutput{}
	for life, offset := range offsets {
		b, err := launch(dir, "node.clock_offset="+offset)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Kill)
		at := "http://" + b.Addr("aws")
		w := &world{t, client(t, at, root), at}
		for _, content := range []bool{false, true} {
			name, id := fmt.Sprint("window-", content, ".fifo"), "id"
			if content {
				id = ""
			}
			if life == 0 {
				out, err := w.CreateQueue(ctx(), &sqs.CreateQueueInput{QueueName: &name, Attributes: pairs([]string{
					"FifoQueue", "true", "ContentBasedDeduplication", fmt.Sprint(content)})})
				if err != nil {
					t.Fatal(err)
				}
				url[content] = *out.QueueUrl
			}
			url := url[content]
			sent := w.send(url, "body", group("g", id))
			same := first[content] != nil && *sent.MessageId == *first[content].MessageId && *sent.SequenceNumber == *first[content].SequenceNumber
			switch offset {
			case "0s":
				first[content] = sent
			case "2m":
				if !same {
					t.Errorf("content %v: %s is no duplicate after two minutes", content, *sent.MessageId)
				}
			default:
				if same || *sent.SequenceNumber <= *first[content].SequenceNumber {
					t.Errorf("content %v: %s %s after five minutes, the first was %s %s", content,
						*sent.MessageId, *sent.SequenceNumber, *first[content].MessageId, *first[content].SequenceNumber)
				}
				if again := w.send(url, "body", group("g", id)); *again.MessageId != *sent.MessageId { // a window of its own
					t.Errorf("content %v: no duplicate of the second message", content)
				}
				if got := bodies(w.collect(url, 2)); got != "body body" {
					t.Errorf("content %v: %q in the queue", content, got)
				}
				if n := w.attributes(url, "All")["ApproximateNumberOfMessages"]; n != "0" {
					t.Errorf("content %v: %s more messages", content, n)
				}
			}
		}
		b.Kill()
	}
}

// SQS-42: duplicates by id and by content.
func TestSQS42_Deduplication(t *testing.T) {
	w := open(t)
	url := w.fifo("ContentBasedDeduplication", "true")
	first := w.send(url, "one", group("g", ""))
	m := w.collect(url, 1)[0]
	if m.Attributes["MessageDeduplicationId"] != "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed" {
		t.Errorf("%v", m.Attributes)
	}
	if err := w.remove(url, m); err != nil {
		t.Fatal(err)
	}
	again := w.send(url, "one", group("g", ""))
	if *again.MessageId != *first.MessageId || *again.SequenceNumber != *first.SequenceNumber {
		t.Errorf("%s %s, want %s %s", *again.MessageId, *again.SequenceNumber, *first.MessageId, *first.SequenceNumber)
	}
	x := w.send(url, "two", group("g", "id"))
	y := w.send(url, "three", group("h", "id"))
	if *x.MessageId != *y.MessageId || *y.MD5OfMessageBody == *x.MD5OfMessageBody {
		t.Errorf("%+v %+v", x, y)
	}
	out, err := w.sendBatch(url, []types.SendMessageBatchRequestEntry{
		{Id: aws.String("a"), MessageBody: aws.String("four"), MessageGroupId: aws.String("i"), MessageDeduplicationId: aws.String("twice")},
		{Id: aws.String("b"), MessageBody: aws.String("five"), MessageGroupId: aws.String("i"), MessageDeduplicationId: aws.String("twice")},
	})
	if err != nil || len(out.Successful) != 2 || *out.Successful[0].MessageId != *out.Successful[1].MessageId {
		t.Errorf("%v, %v", out, err)
	}
	if got := bodies(w.collect(url, 2)); got != "two four" {
		t.Errorf("%q", got)
	}
}

// SQS-43: the scope of deduplication is that of the creation.
func TestSQS42_PurgeForgets(t *testing.T) {
	w := open(t)
	url := w.fifo()
	first := w.send(url, "one", group("g", "id"))
	w.purge(url)
	second := w.send(url, "two", group("g", "id"))
	if *first.MessageId == *second.MessageId {
		t.Errorf("the message after the purge counts as that before it")
	}
	if third := w.send(url, "three", group("g", "id")); *third.MessageId != *second.MessageId {
		t.Errorf("the one after that does not")
	}
	if got := bodies(w.collect(url, 1)); got != "two" {
		t.Errorf("%q", got)
	}
}

func TestSQS43_Scope(t *testing.T) {
	w := open(t)
	for _, scope := range []string{"queue", "messageGroup"} {
		url := w.fifo("DeduplicationScope", scope)
		other := map[string]string{"queue": "messageGroup", "messageGroup": "queue"}[scope]
		if err := w.set(url, "DeduplicationScope", other); err != nil || w.attributes(url, "All")["DeduplicationScope"] != other {
			t.Fatalf("%v", err)
		}
		a, b := w.send(url, "x", group("g", "id")), w.send(url, "y", group("h", "id"))
		if same := *a.MessageId == *b.MessageId; same != (scope == "queue") {
			t.Errorf("%s: the same id in two groups is one: %v", scope, same)
		}
	}
	refused(t, w.set(w.fifo(), "FifoThroughputLimit", "perMessageGroupId"), "InvalidAttributeValue", "")
	w.fifo("FifoThroughputLimit", "perMessageGroupId", "DeduplicationScope", "messageGroup")
}

// SQS-44: ids that are missing.
func TestSQS44_MissingIDs(t *testing.T) {
	w := open(t)
	url := w.fifo()
	const dedup = "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly"
	_, err := w.trySend(url, "x")
	refused(t, err, "MissingParameter", "The request must contain the parameter MessageGroupId.")
	_, err = w.trySend(url, "x", group("g", ""))
	refused(t, err, "InvalidParameterValue", dedup)
	_, err = w.sendBatch(url, entries(1))
	refused(t, err, "InvalidParameterValue", "The request must contain the parameter MessageGroupId.")
	list := entries(1)
	list[0].MessageGroupId = aws.String("g")
	_, err = w.sendBatch(url, list)
	refused(t, err, "InvalidParameterValue", dedup)
}

// SQS-46: an attempt that is repeated gets the same again.
func TestSQS46_ReceiveAttempt(t *testing.T) {
	w := open(t)
	url := w.fifo()
	w.sendGroups(url, "1-a 1-b 2-a")
	attempt := func(in *sqs.ReceiveMessageInput) { in.ReceiveRequestAttemptId = aws.String("try-1") }
	first := w.receive(url, 2, attempt, wait(2))
	second := w.receive(url, 2, attempt, wait(2))
	if len(first) != 2 || len(second) != 2 || *first[0].MessageId != *second[0].MessageId {
		t.Fatalf("%s, then %s", bodies(first), bodies(second))
	}
	if got := bodies(w.receive(url, 10)); got != "2-a" {
		t.Errorf("another attempt: %s", got)
	}
	for _, m := range second {
		if err := w.remove(url, m); err != nil {
			t.Error(err)
		}
	}
	if got := bodies(w.receive(url, 2, attempt)); got != "" {
		t.Errorf("after the deletes: %s", got)
	}
}

// SQS-47: characters of ids.
func TestSQS47_IDs(t *testing.T) {
	w := open(t)
	url := w.fifo()
	for _, id := range []string{"", "group 123", strings.Repeat("a", 129)} {
		text := func(name string) string {
			return "Value " + id + " for parameter " + name + " is invalid. Reason: " + name + " can only include alphanumeric and punctuation characters. 1 to 128 in length."
		}
		_, err := w.trySend(url, "x", func(in *sqs.SendMessageInput) { in.MessageGroupId, in.MessageDeduplicationId = aws.String("g"), &id })
		refused(t, err, "InvalidParameterValue", text("MessageDeduplicationId"))
		_, err = w.trySend(url, "x", func(in *sqs.SendMessageInput) { in.MessageGroupId, in.MessageDeduplicationId = &id, aws.String("d") })
		refused(t, err, "InvalidParameterValue", text("MessageGroupId"))
	}
	all := "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~aZ0"
	w.send(url, "x", group(all, all))
	if m := w.collect(url, 1)[0]; m.Attributes["MessageGroupId"] != all || m.Attributes["MessageDeduplicationId"] != all {
		t.Errorf("%v", m.Attributes)
	}
}

// SQS-52: dead letters keep group and id.
func TestSQS52_FifoDeadLetter(t *testing.T) {
	w := open(t)
	deadURL := w.fifo()
	url := w.fifo("RedrivePolicy", `{"deadLetterTargetArn":"`+w.arnOf(deadURL)+`","maxReceiveCount":1}`)
	sent := w.send(url, "x", group("g", "d"))
	w.glance(url)
	w.receive(url, 1)
	m := w.collect(deadURL, 1)[0]
	if *m.MessageId != *sent.MessageId || m.Attributes["MessageGroupId"] != "g" || m.Attributes["MessageDeduplicationId"] != "d" ||
		m.Attributes["DeadLetterQueueSourceArn"] != w.arnOf(url) {
		t.Errorf("%v", m.Attributes)
	}
}
