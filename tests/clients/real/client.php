<?php
// PHP's curl and its streams: `php client.php curl|streams SUFFIX`.
[, $client, $suffix] = $argv + [2 => ''];
$body = '';
for ($at = 0; $at < 1_000_000; $at++) {
    $body .= chr($at % 251);
}

function fact($what, $status = null, $headers = [], $body = '')
{
    $sum = strlen($body) . ' ' . hash('sha256', $body);
    echo json_encode(['what' => $what, 'status' => $status, 'headers' => $headers, 'body' => $sum]), "\n";
}

/** The status and the fields of a head's lines. */
function head($lines)
{
    $fields = [];
    foreach ($lines as $line) {
        if (str_contains($line, ': ')) {
            $fields[] = explode(': ', trim($line), 2);
        }
    }
    return [(int) explode(' ', $lines[0])[1], $fields];
}

$handle = $client == 'curl' ? curl_init() : null;
$get = function ($service, $path = '/', $body = null) use ($handle, $suffix) {
    $url = "http://$service$suffix$path";
    if ($handle) {
        $lines = [];
        curl_reset($handle);
        curl_setopt_array($handle, [
            CURLOPT_URL => $url,
            CURLOPT_RETURNTRANSFER => true,
            CURLOPT_HEADERFUNCTION => function ($_, $line) use (&$lines) {
                // The head of an interim answer is not the last one.
                $lines = str_starts_with($line, 'HTTP/') ? [$line] : [...$lines, $line];
                return strlen($line);
            },
        ]);
        if ($body !== null) {
            curl_setopt($handle, CURLOPT_POSTFIELDS, $body);
        }
        $got = curl_exec($handle);
        $got === false and exit(curl_error($handle) . "\n");
    } else {
        $options = ['ignore_errors' => true, 'method' => $body === null ? 'GET' : 'POST', 'protocol_version' => 1.1];
        $options += $body === null ? [] : ['content' => $body, 'header' => "Content-Type: text/plain\r\n"];
        $got = file_get_contents($url, false, stream_context_create(['http' => $options]));
        $lines = $http_response_header;
    }
    return [...head($lines), $got];
};

fact('get', ...$get('hello'));
fact('post', ...$get('echo', '/', $body));
fact('stream', ...$get('bytes', '/300000?chunked=1'));
foreach ([204, 404, 500, 503] as $status) {
    fact((string) $status, ...$get('status', "/$status"));
}
echo json_encode(['what' => 'asked', 'asked' => $get('echo', '/headers')[2]]), "\n";
fact('fifty', 0, [], implode(array_map(fn ($at) => $get('bytes', "/$at")[2], range(0, 49))));
