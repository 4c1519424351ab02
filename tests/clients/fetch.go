// What a Go program gets from each URL, by net/http as it is: it follows
// http_proxy and no_proxy by itself.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
)

func main() {
	for _, url := range os.Args[1:] {
		answer, err := http.Get(url)
		if err != nil {
			fmt.Println(err)
			continue
		}
		io.Copy(os.Stdout, answer.Body)
		answer.Body.Close()
	}
}
