<?php
# SPDX-License-Identifier: BSD-3-Clause
# Usage: client.php HOST PORT. One JSON request a line on stdin, one JSON reply a line on stdout (see peers.py).

const SHOWN = 65536;

function workload(array $request): string
{
    return str_repeat(base64_decode($request["workload"] ?? ""), $request["times"] ?? 1);
}

function submit(GearmanClient $client, array $requests): array
{
    $outcomes = [];
    foreach ($requests as $number => $request) {
        $outcome = new stdClass();
        $outcome->state = "none";
        $outcome->data = $outcome->warnings = $outcome->statuses = [];
        $outcome->exception = $outcome->result = $outcome->handle = "";
        $outcomes[$number] = $outcome;
        $priority = ["high" => "High", "low" => "Low"][$request["priority"] ?? ""] ?? "";
        $add = "addTask" . $priority . (empty($request["background"]) ? "" : "Background");
        $task = $client->$add($request["function"], workload($request), $outcome, $request["unique"] ?? null);
        if ($task === false) {
            $outcome->state = "refused";
        }
    }
    $fine = @$client->runTasks();
    foreach ($outcomes as $outcome) {
        $outcome->length = strlen($outcome->result);
        $outcome->md5 = md5($outcome->result);
        $outcome->result = $outcome->length > SHOWN ? "" : base64_encode($outcome->result);
    }
    return ["outcomes" => $outcomes, "fine" => $fine, "code" => $client->returnCode(), "error" => $client->error()];
}

function callbacks(GearmanClient $client): void
{
    $client->setCreatedCallback(function ($task, $outcome) {
        $outcome->handle = $task->jobHandle();
        $outcome->state = "created";
    });
    $client->setDataCallback(function ($task, $outcome) {
        $outcome->data[] = base64_encode($task->data());
    });
    $client->setWarningCallback(function ($task, $outcome) {
        $outcome->warnings[] = base64_encode($task->data());
    });
    $client->setStatusCallback(function ($task, $outcome) {
        $outcome->statuses[] = [$task->taskNumerator(), $task->taskDenominator()];
    });
    $client->setCompleteCallback(function ($task, $outcome) {
        $outcome->state = "complete";
        $outcome->result = $task->data() ?: "";
    });
    $client->setFailCallback(function ($task, $outcome) {
        $outcome->state = "fail";
    });
    $client->setExceptionCallback(function ($task, $outcome) {
        $outcome->state = "exception";
        $outcome->exception = base64_encode($task->data());
    });
}

# The calls that wait for one job, without tasks.
function run(GearmanClient $client, array $request): array
{
    $do = ["high" => "doHigh", "low" => "doLow"][$request["priority"] ?? ""] ?? "doNormal";
    $result = @$client->$do($request["function"], workload($request), $request["unique"] ?? null);
    return ["result" => base64_encode((string)$result), "code" => $client->returnCode()];
}

function answer(GearmanClient $client, array $request): array
{
    switch ($request["op"]) {
        case "submit":
            return submit($client, $request["requests"]);
        case "run":
            return run($client, $request);
        case "background":
            $do = ["high" => "doHighBackground", "low" => "doLowBackground"][$request["priority"] ?? ""]
                ?? "doBackground";
            $handle = @$client->$do($request["function"], workload($request), $request["unique"] ?? null);
            return ["handle" => $handle, "code" => $client->returnCode()];
        case "status":
            return ["status" => array_map("intval", $client->jobStatus($request["handle"]))];
        case "status_unique":
            return ["status" => array_map("intval", $client->jobStatusByUniqueKey($request["unique"]))];
        case "ping":
            return ["ping" => $client->ping(workload($request))];
    }
    return ["error" => "unknown request"];
}

# The extension asks the server for exceptions whether it is told to or not, so there is one client for all requests.
$client = new GearmanClient();
$client->addServer($argv[1], (int)$argv[2]);
$client->setTimeout(30000);
callbacks($client);
while (($line = fgets(STDIN)) !== false) {
    echo json_encode(answer($client, json_decode($line, true, 16, JSON_THROW_ON_ERROR)), JSON_THROW_ON_ERROR), "\n";
}
