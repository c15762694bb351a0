# SPDX-License-Identifier: BSD-3-Clause
# Usage: client.pl HOST PORT. One JSON request a line on stdin, one JSON reply a line on stdout (see peers.py).
use strict;
use warnings;
use Digest::MD5 qw(md5_hex);
use Gearman::Client;
use JSON::PP;
use MIME::Base64 qw(decode_base64 encode_base64);

use constant SHOWN => 65536;

$| = 1;
my ($host, $port) = @ARGV;
my %client;

sub b64 { encode_base64(ref $_[0] ? ${ $_[0] } : $_[0], "") }
sub workload { decode_base64($_[0]{workload} // "") x ($_[0]{times} // 1) }

sub task {
    my ($request, $outcome) = @_;
    my $arg = workload($request);
    return Gearman::Task->new(
        $request->{function},
        \$arg,
        {   priority     => $request->{priority} // "normal",
            uniq         => $request->{unique},
            background   => $request->{background} ? 1 : 0,
            on_complete  => sub { @$outcome{qw(state result)} = ("complete", ${ $_[0] }) },
            on_fail      => sub { @$outcome{qw(state error)} = ("fail", $_[0]) },
            on_exception => sub { @$outcome{qw(state exception)} = ("exception", b64($_[0])) },
            on_data      => sub { push @{ $outcome->{data} }, b64($_[0]) },
            on_warning   => sub { push @{ $outcome->{warnings} }, b64($_[0]) },
            on_status    => sub { push @{ $outcome->{statuses} }, [$_[0] + 0, $_[1] + 0] },
        }
    );
}

# The library's handle has the server in front: "HOST:PORT//HANDLE".
sub bare { my ($handle) = @_; $handle =~ s{^.*?//}{}; return $handle }

sub submit {
    my ($client, $requests) = @_;
    my $set = $client->new_task_set;
    my @outcomes;
    for my $request (@$requests) {
        my $outcome = {
            state => "none", data => [], warnings => [], statuses => [], exception => "", result => "", handle => ""
        };
        push @outcomes, $outcome;
        my $handle = $set->add_task(task($request, $outcome));
        if ($handle) {
            $outcome->{handle} = bare($handle);
            $outcome->{state} = "created" if $outcome->{state} eq "none";
        }
    }
    $set->wait(timeout => 30);
    for my $outcome (@outcomes) {
        $outcome->{length} = length $outcome->{result};
        $outcome->{md5}    = md5_hex($outcome->{result});
        $outcome->{result} = $outcome->{length} > SHOWN ? "" : b64($outcome->{result});
    }
    return { outcomes => \@outcomes };
}

sub answer {
    my ($client, $request) = @_;
    my $op = $request->{op};
    if ($op eq "submit") { return submit($client, $request->{requests}) }
    if ($op eq "run") {
        my $result = $client->do_task(task($request, {}));
        return { result => defined $result ? b64($result) : undef };
    }
    if ($op eq "background") {
        my $handle = $client->dispatch_background(task($request, {}));
        return { handle => $handle && bare($handle) };
    }
    if ($op eq "status") {
        my $status = $client->get_status("$host:$port//$request->{handle}");
        my $progress = $status->progress // [0, 0];
        return { status => [map { $_ + 0 } $status->known, $status->running, @$progress] };
    }
    if ($op eq "server_status") {
        return { status => $client->get_job_server_status->{"$host:$port"} };
    }
    return { error => "unknown request" };
}

while (my $line = <STDIN>) {
    my $request    = decode_json($line);
    my $exceptions = !exists $request->{exceptions} || $request->{exceptions} ? 1 : 0;
    $client{$exceptions}
        ||= Gearman::Client->new(job_servers => ["$host:$port"], exceptions => $exceptions);
    my $reply = eval { answer($client{$exceptions}, $request) } || { error => "$@" };
    print encode_json($reply), "\n";
}
