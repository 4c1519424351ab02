// Java's HttpClient over HTTP/1.1 and HTTP/2, its WebSocket, and HttpURLConnection:
// `java Client.java http1|http2|websocket|urlconnection SUFFIX`.
import java.io.ByteArrayOutputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.net.URL;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.WebSocket;
import java.nio.ByteBuffer;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;

class Client {
    static String suffix;
    static String kind;
    static HttpClient client;

    record Answer(int status, Map<String, List<String>> headers, byte[] body) {}

    static void fact(String what, Answer answer) throws Exception {
        var pairs = new ArrayList<String>();
        answer.headers.forEach((name, values) -> {
            // HttpURLConnection has the status line under null, HTTP/2 the status.
            if (name != null && !name.startsWith(":")) {
                for (var value : values) pairs.add("[" + quoted(name) + "," + quoted(value) + "]");
            }
        });
        var sum = HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(answer.body));
        System.out.println("{\"what\":" + quoted(what) + ",\"status\":" + answer.status + ",\"headers\":["
            + String.join(",", pairs) + "],\"body\":\"" + answer.body.length + " " + sum + "\"}");
    }

    static String quoted(String text) {
        return "\"" + text.replace("\\", "\\\\").replace("\"", "\\\"").replace("\n", "\\n") + "\"";
    }

    static HttpRequest request(String service, String path, byte[] body) {
        var publisher = body == null ? HttpRequest.BodyPublishers.noBody() : HttpRequest.BodyPublishers.ofByteArray(body);
        var uri = URI.create("http://" + service + suffix + path);
        return HttpRequest.newBuilder(uri).method(body == null ? "GET" : "POST", publisher).build();
    }

    static Answer read(HttpResponse<byte[]> answer) {
        return new Answer(answer.statusCode(), answer.headers().map(), answer.body());
    }

    static Answer get(String service, String path, byte[] body) throws Exception {
        if (client != null) return read(client.send(request(service, path, body), HttpResponse.BodyHandlers.ofByteArray()));
        var connection = (HttpURLConnection) new URL("http://" + service + suffix + path).openConnection();
        if (body != null) {
            connection.setDoOutput(true);
            connection.setRequestProperty("Content-Type", "text/plain");
            connection.getOutputStream().write(body);
        }
        int status = connection.getResponseCode();
        try (var stream = status < 400 ? connection.getInputStream() : connection.getErrorStream()) {
            return new Answer(status, connection.getHeaderFields(), stream.readAllBytes());
        }
    }

    public static void main(String[] words) throws Exception {
        kind = words[0];
        suffix = words[1];
        var version = kind.equals("http2") ? HttpClient.Version.HTTP_2 : HttpClient.Version.HTTP_1_1;
        if (!kind.equals("urlconnection")) client = HttpClient.newBuilder().version(version).build();
        byte[] body = new byte[1_000_000];
        for (int at = 0; at < body.length; at++) body[at] = (byte) (at % 251);
        if (kind.equals("websocket")) {
            websocket(body);
            return;
        }
        fact("get", get("hello", "/", null));
        fact("post", get("echo", "/", body));
        fact("stream", get("bytes", "/300000?chunked=1", null));
        for (var status : List.of("204", "404", "500", "503")) fact(status, get("status", "/" + status, null));
        var asked = new String(get("echo", "/headers", null).body);
        System.out.println("{\"what\":\"asked\",\"asked\":" + quoted(asked) + "}");
        var fifty = new ByteArrayOutputStream();
        for (int at = 0; at < 50; at++) fifty.write(get("bytes", "/" + at, null).body);
        fact("fifty", new Answer(0, Map.of(), fifty.toByteArray()));
        if (client == null) return;
        var twenty = new ArrayList<CompletableFuture<HttpResponse<byte[]>>>();
        for (int at = 0; at < 20; at++) {
            twenty.add(client.sendAsync(request("bytes", "/" + at, null), HttpResponse.BodyHandlers.ofByteArray()));
        }
        var all = new ByteArrayOutputStream();
        for (var one : twenty) all.write(one.join().body());
        fact("twenty", new Answer(0, Map.of(), all.toByteArray()));
    }

    static void websocket(byte[] body) throws Exception {
        var got = new ByteArrayOutputStream();
        var whole = new CompletableFuture<byte[]>();
        var closed = new CompletableFuture<Integer>();
        var listener = new WebSocket.Listener() {
            public CompletionStage<?> onBinary(WebSocket socket, ByteBuffer data, boolean last) {
                byte[] part = new byte[data.remaining()];
                data.get(part);
                got.writeBytes(part);
                if (last) whole.complete(got.toByteArray());
                socket.request(1);
                return null;
            }

            public CompletionStage<?> onClose(WebSocket socket, int code, String reason) {
                closed.complete(code);
                return null;
            }
        };
        var socket = client.newWebSocketBuilder().buildAsync(URI.create("ws://ws" + suffix + "/"), listener).join();
        socket.sendBinary(ByteBuffer.wrap(body), true).join();
        fact("echo", new Answer(0, Map.of(), whole.join()));
        socket.sendText("close 4001", true).join();
        fact("closed", new Answer(closed.join(), Map.of(), new byte[0]));
    }
}
