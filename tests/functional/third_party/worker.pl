# SPDX-License-Identifier: BSD-3-Clause
# Usage: worker.pl HOST PORT PREFIX [TIMEOUT]. Functions, events and orders: see peers.py.
use strict;
use warnings;
use Gearman::Worker;
use JSON::PP;
use MIME::Base64 qw(decode_base64 encode_base64);

$| = 1;
my ($host, $port, $prefix, $timeout) = @ARGV;
my $worker = Gearman::Worker->new(job_servers => ["$host:$port"], client_id => "perl-worker");

sub tell_event { print encode_json({@_}), "\n" }

# Does one action of a list; true once the job has its end.
sub act {
    my ($job, $result, $verb, @rest) = @_;
    if    ($verb eq "status")  { $job->set_status(@rest) }
    elsif ($verb eq "data")    { $worker->send_work_data($job, decode_base64($rest[0])) }
    elsif ($verb eq "warning") { $worker->send_work_warning($job, decode_base64($rest[0])) }
    elsif ($verb eq "note") {
        tell_event(event => "note", text => $rest[0], handle => $job->handle, pid => $$);
    }
    elsif ($verb eq "complete") { $$result = decode_base64($rest[0]); return 1 }
    elsif ($verb eq "repeat")   { $$result = decode_base64($rest[0]) x $rest[1]; return 1 }
    elsif ($verb eq "fail")     { return 1 }
    elsif ($verb eq "exception") { $worker->send_work_exception($job, decode_base64($rest[0])); return 1 }
    elsif ($verb eq "die")       { die decode_base64($rest[0]) . "\n" }
    else                         { die "unknown action $verb" }
    return 0;
}

sub hold {
    my ($job) = @_;
    tell_event(
        event    => "start",
        handle   => $job->handle,
        unique   => undef,
        workload => encode_base64($job->arg, ""),
        pid      => $$
    );
    my $result;
    while (my $order = <STDIN>) {
        return $result if act($job, \$result, @{ decode_json($order) });
    }
    exit 1;
}

$worker->register_function($prefix . "echo"    => sub { $_[0]->arg });
$worker->register_function($prefix . "reverse" => sub { scalar reverse $_[0]->arg });
$worker->register_function(
    $prefix . "act" => sub {
        my ($job) = @_;
        my $result;
        for my $action (@{ decode_json($job->arg) }) {
            last if act($job, \$result, @$action);
        }
        return $result;
    }
);
$worker->register_function($prefix . "hold", ($timeout ? $timeout : ()), \&hold);
$worker->work;
