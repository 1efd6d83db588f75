#!/usr/bin/perl
# Starts a pod as the kubelet does, by questions to the runtime at a socket (CRI v1), and prints the id of its container.
# Arguments: SOCKET POD NAMESPACE UID IMAGE COMMAND...
use strict;
use warnings;

my ($socket, $pod, $namespace, $uid, $image, @command) = @ARGV;

# What protobuf makes of numbers, and of fields that are numbers or have a length.
sub number {
    my ($rest) = @_;
    my $bytes = '';
    for (; $rest > 127; $rest >>= 7) { $bytes .= chr($rest & 127 | 128) }
    return $bytes . chr $rest;
}
sub count { my ($tag, $value) = @_; return number($tag << 3) . number($value) }
sub field { my ($tag, $value) = @_; return number($tag << 3 | 2) . number(length $value) . $value }

# The first id in the answer.
sub ask {
    my ($method, $message) = @_;
    open my $file, '>:raw', '/tmp/question' or die "/tmp/question: $!";
    print $file pack('CN', 0, length $message), $message;
    close $file or die "/tmp/question: $!";
    my $answer = qx(curl --silent --show-error --http2-prior-knowledge --unix-socket $socket --dump-header /tmp/head \\
        --header 'content-type: application/grpc' --header 'te: trailers' --data-binary \@/tmp/question \\
        http://localhost/runtime.v1.RuntimeService/$method);
    my $head = qx(cat /tmp/head);
    die "$method: $head" unless $head =~ /^grpc-status: 0/mi;
    return $answer =~ /([0-9a-f]{64})/ ? $1 : '';
}

my $metadata = field(1, $pod) . field(2, $uid) . field(3, $namespace);
# The node's network, which needs no plugin; its groups below that of the pod.
my $linux = field(1, 'kubepods-pod' . ($uid =~ tr/-/_/r) . '.slice') . field(2, field(1, count(1, 2)));
my $sandbox = field(1, $metadata) . field(3, "/var/log/pods/${namespace}_${pod}_$uid") . field(8, $linux);
my $sandbox_id = ask('RunPodSandbox', field(1, $sandbox));
my $container = field(1, field(1, 'main')) . field(2, field(1, $image)) . join('', map { field(3, $_) } @command) . field(11, 'main.log');
my $id = ask('CreateContainer', field(1, $sandbox_id) . field(2, $container) . field(3, $sandbox));
ask('StartContainer', field(1, $id));
print "$id\n";
