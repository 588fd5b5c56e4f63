# The smoke test of Ruby's stomp: a queue, a transaction, a receipt, NACK.
require "stomp"
require "timeout"

def check(got, want, what)
  raise "#{what}: got #{got.inspect}, want #{want.inspect}" unless got == want
end

Timeout.timeout(50) do
  queue = "/queue/ruby.#{Process.pid}.#{rand(1 << 30)}"
  client = Stomp::Connection.open("guest", "guest", ENV["HOST"], ENV["PORT"].to_i, false, 5,
                                  { "accept-version" => "1.2", "host" => "/" })
  check(client.protocol, "1.2", "version")
  client.subscribe(queue, { "id" => "1", "ack" => "client-individual", "receipt" => "s" }, "1")
  check(client.receive.headers["receipt-id"], "s", "receipt")
  client.publish(queue, "größe 😀", { "k" => "a:b", "persistent" => "true", "receipt" => "p" })
  seen = [client.receive, client.receive]
  message = seen.find { |f| f.command == "MESSAGE" }
  check(seen.find { |f| f.command == "RECEIPT" }.headers["receipt-id"], "p", "receipt")
  check(message.body.dup.force_encoding("UTF-8"), "größe 😀", "body")
  check(message.headers["k"], "a:b", "header")
  client.nack(message.headers["ack"])
  again = client.receive
  check(again.headers["redelivered"], "true", "redelivered")
  client.begin("t")
  client.ack(again.headers["ack"], { "transaction" => "t" })
  client.publish(queue, "next", { "transaction" => "t" })
  client.commit("t")
  last = client.receive
  check(last.body, "next", "sent in the transaction")
  client.ack(last.headers["ack"])
  client.disconnect("receipt" => "bye")
end
