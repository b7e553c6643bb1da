#!/usr/bin/perl
# Usage: relay.pl SOCKET
# Carries bytes between its own input and output, which are a channel of the computer's SSH connection, and slipway-dial.
use strict;
use warnings;
use Socket qw(AF_UNIX SOCK_STREAM pack_sockaddr_un);

my $CHUNK = 262_144;
socket my $dial, AF_UNIX, SOCK_STREAM, 0 or die "socket: $!\n";
connect $dial, pack_sockaddr_un($ARGV[0]) or die "$ARGV[0]: $!\n";
$SIG{PIPE} = 'IGNORE';

while (1) {
    my $read = '';
    vec($read, fileno($_), 1) = 1 for $dial, \*STDIN;
    next if select($read, undef, undef, undef) < 0;
    copy(\*STDIN, $dial)    if vec($read, fileno(STDIN), 1);
    copy($dial, \*STDOUT) if vec($read, fileno($dial), 1);
}

# Waits for the reader where it is slow: then nothing has to be kept here.
sub copy {
    my ($from, $to) = @_;
    my $got = sysread $from, my $bytes, $CHUNK or exit 0;
    for (my $at = 0; $at < $got;) {
        $at += syswrite($to, $bytes, $got - $at, $at) // exit 0;
    }
}
