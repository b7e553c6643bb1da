# Relays datagrams between its input and output and the UDP ports of this host. perl-base has all that it needs.
# A frame in both directions: its kind (1 byte), a flow (4 bytes), a length (2 bytes), and as many bytes.
#   in:   O opens a flow to the port "address port", D sends a datagram, C closes a flow
#   out:  R says once that this program is ready, D is a datagram that came
use strict;
use Socket qw(:DEFAULT inet_pton pack_sockaddr_in6 AF_INET6);
use Fcntl;
binmode STDIN;
binmode STDOUT;
my (%socket_of, %flow_of);
my ($input, $wanted) = ('', '');

sub emit {
    my ($kind, $flow, $payload) = @_;
    my $frame = pack('aNn', $kind, $flow, length $payload) . $payload;
    # While nobody reads, the sockets' own buffers fill up, and then lose datagrams.
    while (length $frame) {
        my $written = syswrite STDOUT, $frame;
        exit 0 unless $written;
        substr $frame, 0, $written, '';
    }
}

sub close_flow {
    my $socket = delete $socket_of{$_[0]} or return;
    delete $flow_of{fileno $socket};
    vec($wanted, fileno $socket, 1) = 0;
    close $socket;
}

sub open_flow {
    my ($flow, $address, $port) = @_;
    my $is6 = $address =~ /:/;
    my $packed = inet_pton($is6 ? AF_INET6 : AF_INET, $address) or return;
    my $peer = $is6 ? pack_sockaddr_in6($port, $packed) : pack_sockaddr_in($port, $packed);
    socket(my $socket, $is6 ? AF_INET6 : AF_INET, SOCK_DGRAM, 0) or return;
    fcntl($socket, F_SETFL, O_NONBLOCK);
    connect($socket, $peer) or return;
    $socket_of{$flow} = $socket;
    $flow_of{fileno $socket} = $flow;
    vec($wanted, fileno $socket, 1) = 1;
}

sub take_frames {
    while (length $input >= 7) {
        my ($kind, $flow, $length) = unpack 'aNn', $input;
        return if length $input < 7 + $length;
        my $payload = substr $input, 7, $length;
        substr $input, 0, 7 + $length, '';
        if ($kind eq 'O') { close_flow($flow); open_flow($flow, split / /, $payload) }
        elsif ($kind eq 'C') { close_flow($flow) }
        elsif ($socket_of{$flow}) { send $socket_of{$flow}, $payload, 0 }
    }
}

vec($wanted, fileno STDIN, 1) = 1;
emit('R', 0, '');
while (1) {
    my $count = select my $ready = $wanted, undef, undef, undef;
    next if $count < 0;
    for my $fileno (keys %flow_of) {
        next unless vec($ready, $fileno, 1);
        my $flow = $flow_of{$fileno};
        # Not all at once: others want to be read too.
        for (1 .. 16) {
            my $from = recv $socket_of{$flow}, my $payload, 65535, 0;
            last unless defined $from;
            emit('D', $flow, $payload);
        }
    }
    if (vec($ready, fileno STDIN, 1)) {
        my $count = sysread STDIN, $input, 65536, length $input;
        exit 0 unless $count;
        take_frames();
    }
}
