#!/usr/bin/perl
# sshfs runs this as its ssh. It carries SFTP between sshfs (stdin and stdout) and whoever connects to a Unix socket: the
# link of the computer, which comes and goes. Requests that were not answered are sent again over the next connection, so
# sshfs and the programs behind it only see that an answer takes longer. After SLIPWAY_WAIT_SECONDS without any answer, a
# request fails with EIO, because a program that waits for a file system can't be killed.
#
# Needs no more than perl-base. Arguments, which are for ssh, are ignored.
use strict;
use warnings;
use Socket qw(AF_UNIX SOCK_STREAM pack_sockaddr_un SOMAXCONN);
use POSIX  qw(EAGAIN EINTR EWOULDBLOCK F_GETFL F_SETFL O_NONBLOCK);

my $address      = $ENV{SLIPWAY_SOCKET}       or die "SLIPWAY_SOCKET is not set\n";
my $wait_seconds = $ENV{SLIPWAY_WAIT_SECONDS} || 30;
my $group        = $ENV{SLIPWAY_SOCKET_GROUP};

# Numbers of SFTP version 3. sshfs turns a status that it does not know into EIO.
my ($INIT, $VERSION, $CLOSE, $READDIR, $STATUS, $NAME) = (1, 2, 4, 12, 101, 104);
my $IO_ERROR     = 9;
my $CHUNK        = 262_144;
my $MAX_UNSENT   = 8 * $CHUNK;
my $MAX_LISTED   = 40;         # a handle can have 4 KiB, and a packet 256

# Must be what the server offers, since it is promised before there is a connection.
my @EXTENSIONS = (
    'posix-rename@openssh.com' => 1,
    'statvfs@openssh.com'      => 2,
    'hardlink@openssh.com'     => 1,
    'fsync@openssh.com'        => 1,
);

my $session = random_id();
my %request;               # unanswered, by id: number in order, bytes, second it came, second it was first sent
my $count      = 0;
my %last_name;             # by handle of a folder: the last name that was listed
my ($from_sshfs, $from_link, $to_link) = ('', '', '');
my $link;                  # the connection, or undef
my $lost_at    = 0;
my $clock      = 0;        # seconds that this process has seen; a suspended machine's time jumps
my $last_time  = time;
my $heard_at   = 0;
my $checked_at = 0;

$SIG{PIPE} = 'IGNORE';
my $listener = listen_at($address);
binmode STDIN;
binmode STDOUT;

while (1) {
    my ($read, $write) = ('', '');
    vec($read, fileno($listener), 1) = 1;
    vec($read, fileno(STDIN),     1) = 1 if length($to_link) < $MAX_UNSENT;
    if ($link) {
        vec($read,  fileno($link), 1) = 1;
        vec($write, fileno($link), 1) = 1 if length $to_link;
    }
    my $ready = select($read, $write, undef, %request ? 1 : undef);
    next if $ready < 0 && $! == EINTR;
    advance_clock();
    receive_from_link()  if $link && vec($read, fileno($link), 1);
    receive_from_sshfs() if vec($read, fileno(STDIN), 1);
    send_to_link()       if $link && length $to_link;
    accept_link()        if vec($read, fileno($listener), 1);
    expire_requests()    if $clock != $checked_at;
}

sub random_id {
    open my $random, '<:raw', '/dev/urandom' or die "/dev/urandom: $!\n";
    sysread($random, my $bytes, 16) == 16 or die "/dev/urandom: $!\n";
    return unpack 'H*', $bytes;
}

sub listen_at {
    my ($path) = @_;
    socket my $socket, AF_UNIX, SOCK_STREAM, 0 or die "socket: $!\n";
    unlink $path;
    my $mask = umask 0177;
    bind $socket, pack_sockaddr_un($path) or die "$path: $!\n";
    umask $mask;
    if (defined $group && length $group) {
        my $id = $group =~ /^\d+$/ ? $group : getgrnam $group;
        defined $id or die "There is no group $group\n";
        chown 0, $id, $path or die "$path: $!\n";
        chmod 0660, $path or die "$path: $!\n";
    }
    listen $socket, SOMAXCONN or die "$path: $!\n";
    return $socket;
}

sub advance_clock {
    my $now   = time;
    my $since = $now - $last_time;
    $last_time = $now;
    $clock += $since > 2 ? 2 : $since if $since > 0;
}

sub receive_from_sshfs {
    my $got = sysread STDIN, $from_sshfs, $CHUNK, length $from_sshfs;
    return if !defined $got && $! == EINTR;
    exit 0 unless $got;
    my ($at, $first) = (0, 0);
    while (length($from_sshfs) - $at >= 4) {
        my $size = 4 + unpack 'N', substr $from_sshfs, $at, 4;
        last if length($from_sshfs) - $at < $size;
        my ($type, $id) = unpack 'x4 C N', substr $from_sshfs, $at, 9;
        if ($type == $INIT) {
            answer_sshfs(frame(pack 'C N (N/a*)*', $VERSION, 3, @EXTENSIONS));
            $first = $at + $size;
        } else {
            my $bytes = substr $from_sshfs, $at, $size;
            $request{$id} = [$count++, $bytes, $clock, $link ? $clock : undef];
            delete $last_name{unpack 'x9 N/a', $bytes} if $type == $CLOSE && %last_name;
        }
        $at += $size;
    }
    $to_link .= substr $from_sshfs, $first, $at - $first if $link;
    substr($from_sshfs, 0, $at) = '';
}

sub receive_from_link {
    my $got = sysread $link, $from_link, $CHUNK, length $from_link;
    return if !defined $got && ($! == EINTR || $! == EAGAIN);
    return lose_link() unless $got;
    my ($at, $answers) = (0, '');
    while (length($from_link) - $at >= 4) {
        my $size = 4 + unpack 'N', substr $from_link, $at, 4;
        last if length($from_link) - $at < $size;
        my ($type, $id) = unpack 'x4 C N', substr $from_link, $at, 9;
        # sshfs has had a version, and what expired has had an answer.
        my $asked = $type == $VERSION ? undef : delete $request{$id};
        if ($asked) {
            my $answer = substr $from_link, $at, $size;
            remember_listing($asked->[1], $answer) if $type == $NAME;
            $answers .= $answer;
        }
        $at += $size;
    }
    substr($from_link, 0, $at) = '';
    $heard_at = $clock;
    answer_sshfs($answers);
}

# The server puts the last name of an answer where SFTP has a long name for people.
sub remember_listing {
    my ($asked, $answer) = @_;
    my ($type, $handle) = unpack 'x4 C x4 N/a', $asked;
    return unless $type == $READDIR;
    my (undef, $last) = unpack 'x13 N/a N/a', $answer;
    $last_name{$handle} = $last;
}

sub answer_sshfs {
    my ($bytes) = @_;
    my $at = 0;
    while ($at < length $bytes) {
        my $sent = syswrite STDOUT, $bytes, length($bytes) - $at, $at;
        next if !defined $sent && $! == EINTR;
        exit 0 unless defined $sent;
        $at += $sent;
    }
}

sub send_to_link {
    my $sent = syswrite $link, $to_link, length($to_link) < $CHUNK ? length $to_link : $CHUNK;
    if (defined $sent) { substr($to_link, 0, $sent) = '' }
    elsif ($! != EAGAIN && $! != EWOULDBLOCK && $! != EINTR) { lose_link() }
}

sub lose_link {
    close $link;
    ($link, $from_link, $to_link) = (undef, '', '');
    $lost_at = $clock;
}

# A new connection takes the place of the one before: the computer knows better whether that one still works.
sub accept_link {
    accept my $new, $listener or return;
    lose_link() if $link;
    $link = $new;
    fcntl $link, F_SETFL, fcntl($link, F_GETFL, 0) | O_NONBLOCK;
    my @waiting = sort { $a->[0] <=> $b->[0] } values %request;
    my @sent    = grep { defined $_->[3] } @waiting;
    my @details = ('session@slipway' => $session);
    push @details, 'replay@slipway' => join ' ', scalar @sent, $clock - $sent[0][3], $clock - $lost_at if @sent;
    my @handles = keys %last_name;
    splice @handles, $MAX_LISTED if @handles > $MAX_LISTED;
    push @details, 'listed@slipway' => "$_\0$last_name{$_}" for @handles;
    $to_link = join '', frame(pack 'C N (N/a*)*', $INIT, 3, @details), map { $_->[1] } @waiting;
    $_->[3] //= $clock for @waiting;
    $heard_at = $clock;
}

sub expire_requests {
    $checked_at = $clock;
    for my $id (keys %request) {
        my $since = $request{$id}[2] > $heard_at ? $request{$id}[2] : $heard_at;
        next if $clock - $since < $wait_seconds;
        delete $request{$id};
        answer_sshfs(frame(pack 'C N N N N', $STATUS, $id, $IO_ERROR, 0, 0));
    }
}

sub frame { return pack 'N/a*', $_[0] }
