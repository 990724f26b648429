<?php
// A page that sends a mail without letting its visitor wait: it pushes a job and goes on.
// The job's URL is work.php of the same app, which does the work. To try it:
//
//   (umask 077; echo app:secret > /tmp/tasker.auth)
//   tasker --basicauth @/tmp/tasker.auth
//   TASKER_AUTH_FILE=/tmp/tasker.auth php -S localhost:8000 -t examples/php
//   curl -d to=ann@example.org localhost:8000

// From the settings of the server, never from the visitor's Host header: it decides what is called.
define('APP', getenv('APP_URL') ?: 'http://localhost:8000');
define('TASKER', getenv('TASKER_URL') ?: 'http://localhost:9900');
define('LOGIN', trim(file_get_contents(getenv('TASKER_AUTH_FILE') ?: '/etc/tasker.auth')));  // user:password

/** Push a job by the curl extension, as a multipart form; its uid. */
function push(array $job): string
{
    $curl = curl_init(TASKER . '/add');
    curl_setopt_array($curl, [
        CURLOPT_POSTFIELDS => $job,
        CURLOPT_USERPWD => LOGIN,
        CURLOPT_RETURNTRANSFER => true,
        CURLOPT_TIMEOUT => 5,
    ]);
    $answer = curl_exec($curl);
    $status = curl_getinfo($curl, CURLINFO_RESPONSE_CODE);
    if ($status !== 201) {
        throw new RuntimeException("the job was not taken: $status " . ($answer ?: curl_error($curl)));
    }
    return json_decode($answer, true)['uid'];
}

/** The same without the curl extension. */
function push_by_stream(array $job): string
{
    $headers = ['Content-Type: application/x-www-form-urlencoded', 'Authorization: Basic ' . base64_encode(LOGIN)];
    $request = [
        'method' => 'POST',
        'header' => $headers,
        'content' => http_build_query($job),
        'timeout' => 5,
        'ignore_errors' => true,
    ];
    $answer = file_get_contents(TASKER . '/add', false, stream_context_create(['http' => $request]));
    if ($answer === false || !str_contains($http_response_header[0], ' 201 ')) {
        throw new RuntimeException('the job was not taken: ' . ($answer ?: 'no answer'));
    }
    return json_decode($answer, true)['uid'];
}

$job = [
    'max_attempts' => 5,
    'url' => APP . '/work.php?' . http_build_query(['to' => $_POST['to'] ?? 'ann@example.org']),
    'title' => 'Send a mail',
];

header('Content-Type: text/plain');
echo isset($_GET['by_stream']) ? push_by_stream($job) : push($job), "\n";
