// Go's net/http: `http SUFFIX`.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
)

var suffix = os.Args[1]

func fact(what string, status int, headers http.Header, body []byte) {
	pairs := [][2]string{}
	for name, values := range headers {
		for _, value := range values {
			pairs = append(pairs, [2]string{name, value})
		}
	}
	sum := fmt.Sprintf("%d %x", len(body), sha256.Sum256(body))
	line, _ := json.Marshal(map[string]interface{}{"what": what, "status": status, "headers": pairs, "body": sum})
	fmt.Println(string(line))
}

func get(method, service, path string, body io.Reader) (int, http.Header, []byte) {
	request, err := http.NewRequest(method, "http://"+service+suffix+path, body)
	must(err)
	answer, err := http.DefaultClient.Do(request)
	must(err)
	defer answer.Body.Close()
	whole, err := io.ReadAll(answer.Body)
	must(err)
	return answer.StatusCode, answer.Header, whole
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func all(what, method, service, path string, body io.Reader) {
	status, headers, whole := get(method, service, path, body)
	fact(what, status, headers, whole)
}

func main() {
	body := make([]byte, 1000000)
	for at := range body {
		body[at] = byte(at % 251)
	}
	all("get", "GET", "hello", "/", nil)
	all("post", "POST", "echo", "/", bytes.NewReader(body))
	// A reader of no known length is sent in chunks.
	all("chunked", "POST", "echo", "/", io.MultiReader(bytes.NewReader(body)))
	all("stream", "GET", "bytes", "/300000?chunked=1", nil)
	for _, status := range []string{"204", "404", "500", "503"} {
		all(status, "GET", "status", "/"+status, nil)
	}
	_, _, asked := get("GET", "echo", "/headers", nil)
	line, _ := json.Marshal(map[string]string{"what": "asked", "asked": string(asked)})
	fmt.Println(string(line))
	var fifty []byte
	for at := 0; at < 50; at++ {
		_, _, one := get("GET", "bytes", fmt.Sprintf("/%d", at), nil)
		fifty = append(fifty, one...)
	}
	fact("fifty", 0, nil, fifty)
	var twenty [20][]byte
	var group sync.WaitGroup
	for at := range twenty {
		group.Add(1)
		go func(at int) {
			defer group.Done()
			_, _, twenty[at] = get("GET", "bytes", fmt.Sprintf("/%d", at), nil)
		}(at)
	}
	group.Wait()
	fact("twenty", 0, nil, bytes.Join(twenty[:], nil))
}
