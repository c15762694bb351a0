<?php
# SPDX-License-Identifier: BSD-3-Clause
# Usage: worker.php HOST PORT PREFIX [TIMEOUT]. Functions, events and orders: see peers.py.

function tell(array $event): void
{
    fwrite(STDOUT, json_encode($event, JSON_THROW_ON_ERROR) . "\n");
    fflush(STDOUT);
}

# Does one action of a list; true once the job has its end.
function act(GearmanJob $job, array $action, ?string &$result): bool
{
    switch ($action[0]) {
        case "status":
            $job->sendStatus($action[1], $action[2]);
            return false;
        case "data":
            $job->sendData(base64_decode($action[1]));
            return false;
        case "warning":
            $job->sendWarning(base64_decode($action[1]));
            return false;
        case "note":
            tell(["event" => "note", "text" => $action[1], "handle" => $job->handle(), "pid" => getmypid()]);
            return false;
        case "complete":
            $result = base64_decode($action[1]);
            return true;
        case "repeat":
            $result = str_repeat(base64_decode($action[1]), $action[2]);
            return true;
        case "fail":
            $job->sendFail();
            return true;
        case "exception":
            $job->sendException(base64_decode($action[1]));
            return true;
    }
    throw new RuntimeException("unknown action " . $action[0]);
}

[, $host, $port, $prefix] = $argv;
$timeout = (int)($argv[4] ?? 0);
$worker = new GearmanWorker();
$worker->addServer($host, (int)$port);
$worker->setId("php-worker");
$worker->addFunction($prefix . "echo", fn(GearmanJob $job): string => $job->workload());
$worker->addFunction($prefix . "reverse", fn(GearmanJob $job): string => strrev($job->workload()));
$worker->addFunction($prefix . "act", function (GearmanJob $job): ?string {
    $result = null;
    foreach (json_decode($job->workload(), true, 16, JSON_THROW_ON_ERROR) as $action) {
        if (act($job, $action, $result)) {
            break;
        }
    }
    return $result;
});
$worker->addFunction($prefix . "hold", function (GearmanJob $job): ?string {
    tell(["event" => "start", "handle" => $job->handle(), "unique" => $job->unique(),
        "workload" => base64_encode($job->workload()), "pid" => getmypid()]);
    $result = null;
    do {
        $order = fgets(STDIN);
        if ($order === false) {
            exit(1);
        }
    } while (!act($job, json_decode($order, true, 16, JSON_THROW_ON_ERROR), $result));
    return $result;
}, null, $timeout);
while (@$worker->work() || $worker->returnCode() == GEARMAN_TIMEOUT || $worker->returnCode() == GEARMAN_WORK_FAIL) {
}
tell(["event" => "end", "code" => $worker->returnCode(), "error" => $worker->error()]);
