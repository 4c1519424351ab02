// Clients of Go that do not follow http_proxy by themselves: `proxied http2|websocket`
// asks a service. Built against Debian's golang-golang-x-net-dev and
// golang-github-gorilla-websocket-dev.
package main

import (
	"crypto/tls"
	"net"
	"net/http"
	"os"

	"github.com/gorilla/websocket"
	"golang.org/x/net/http2"
)

func main() {
	if os.Args[1] == "websocket" {
		_, _, err := (&websocket.Dialer{}).Dial("ws://ws/", nil)
		must(err)
		return
	}
	// As is usual for HTTP/2 without TLS.
	dial := func(network, address string, _ *tls.Config) (net.Conn, error) { return net.Dial(network, address) }
	client := http.Client{Transport: &http2.Transport{AllowHTTP: true, DialTLS: dial}}
	_, err := client.Get("http://hello")
	must(err)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
