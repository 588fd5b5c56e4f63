# The smoke test of Perl's Net::Stomp: a queue, cumulative ACK, a transaction,
# a receipt.
use strict;
use warnings;
use Net::Stomp;

sub check {
    my ($got, $want, $what) = @_;
    die "$what: got $got, want $want\n" unless defined $got && $got eq $want;
}

my $queue = "/queue/perl.$$." . int(rand(1 << 30));

sub login {
    my $stomp = Net::Stomp->new({ hostname => $ENV{HOST}, port => $ENV{PORT}, timeout => 20, receipt_timeout => 20 });
    my $connected = $stomp->connect({ login => "guest", passcode => "guest" });
    check($connected->command, "CONNECTED", "login");
    return $stomp;
}

# The client takes the next frame for the receipt: who sends does not receive.
my ($stomp, $sender) = (login(), login());
$stomp->subscribe({ destination => $queue, ack => "client", "prefetch-count" => 10 });
for my $i (1 .. 3) {
    $sender->send_with_receipt({ destination => $queue, body => "body $i", k => "v", persistent => "true" }) or die "no receipt\n";
}
my @frames = map { $stomp->receive_frame } 1 .. 3;
for my $i (1 .. 3) {
    check($frames[$i - 1]->body, "body $i", "order");
    check($frames[$i - 1]->headers->{k}, "v", "header");
}
$stomp->ack({ frame => $frames[2] });    # and those before
$sender->send_transactional({ destination => $queue, body => "in a transaction" }) or die "no commit\n";
my $last = $stomp->receive_frame;
check($last->body, "in a transaction", "transaction");
$stomp->ack({ frame => $last });
$_->disconnect for $stomp, $sender;
