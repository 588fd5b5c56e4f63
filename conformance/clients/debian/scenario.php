<?php
// The smoke test of PHP's stomp extension: a queue, ACK, a transaction.
function check($got, $want, $what) {
    if ($got !== $want) {
        fwrite(STDERR, "$what: got " . var_export($got, true) . ", want " . var_export($want, true) . "\n");
        exit(1);
    }
}

$queue = "/queue/php." . getmypid() . "." . random_int(0, 1 << 30);
$stomp = new Stomp("tcp://" . getenv("HOST") . ":" . getenv("PORT"), "guest", "guest");
$stomp->setReadTimeout(20);
check($stomp->subscribe($queue, ["ack" => "client"]), true, "subscribe");
check($stomp->send($queue, "größe 😀", ["k" => "v", "persistent" => "true", "receipt" => "1"]), true, "send");
$frame = $stomp->readFrame();
check($frame->body, "größe 😀", "body");
check($frame->headers["k"], "v", "header");
check($stomp->ack($frame), true, "ack");
check($stomp->begin("t"), true, "begin");
check($stomp->send($queue, "in a transaction", ["transaction" => "t"]), true, "send");
check($stomp->commit("t"), true, "commit");
$frame = $stomp->readFrame();
check($frame->body, "in a transaction", "transaction");
check($stomp->ack($frame), true, "ack");
