<?php
// The work itself, in the app's own web context: tasker calls this page. A 200 says that it is done,
// anything else that it is to be attempted again.
//
// Only our tasker may come in. Start it with the same key as this app:
//   APP_KEY=... php -S localhost:8000 -t examples/php
//   TASKER_HEADER='X-App-Key: ...' tasker --basicauth @/tmp/tasker.auth

$key = getenv('APP_KEY') ?: '';
if ($key === '' || !hash_equals($key, $_SERVER['HTTP_X_APP_KEY'] ?? '')) {
    http_response_code(403);
    exit("only the tasker may call this\n");
}

// A job may run twice, say after a power cut. Its uid stays the same: note it with what was done, to do it once.
$uid = $_SERVER['HTTP_TASKER_UID'] ?? '';
$to = $_GET['to'] ?? '';

header('Content-Type: text/plain');
error_log("job $uid: a mail to $to");  // here goes the work, as slow as it may be
echo "sent to $to\n";
