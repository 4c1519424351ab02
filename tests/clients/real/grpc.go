// grpc-go: `grpc SUFFIX`. Built against Debian's golang-google-grpc-dev.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Messages that are bytes already.
type raw struct{}

func (raw) Marshal(v interface{}) ([]byte, error)      { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v interface{}) error { *v.(*[]byte) = append([]byte{}, data...); return nil }
func (raw) Name() string                               { return "proto" }

func fact(what string, err error, trailers metadata.MD, body []byte) {
	pairs := [][2]string{{"said", status.Convert(err).Message()}}
	for name, values := range trailers {
		for _, value := range values {
			pairs = append(pairs, [2]string{name, fmt.Sprintf("%q", value)})
		}
	}
	sum := fmt.Sprintf("%d %x", len(body), sha256.Sum256(body))
	code := status.Code(err).String()
	line, _ := json.Marshal(map[string]interface{}{"what": what, "status": code, "headers": pairs, "body": sum})
	fmt.Println(string(line))
}

func main() {
	channel, err := grpc.Dial("grpc"+os.Args[1]+":80", grpc.WithInsecure(), grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})))
	if err != nil {
		panic(err)
	}
	context, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	unary := func(method string, body []byte) ([]byte, metadata.MD, error) {
		var answer []byte
		var trailers metadata.MD
		err := channel.Invoke(context, "/test.Echo/"+method, &body, &answer, grpc.Trailer(&trailers))
		return answer, trailers, err
	}
	body := make([]byte, 1000000)
	for at := range body {
		body[at] = byte(at % 251)
	}
	answer, trailers, err := unary("Unary", body)
	fact("post", err, trailers, answer)
	for _, method := range []string{"Fail", "TrailersOnly", "NoSuch"} {
		answer, trailers, err := unary(method, nil)
		fact(method, err, trailers, answer)
	}
	streams(context, channel, "ServerStream", []string{"1000"})
	streams(context, channel, "Bidi", []string{"one", "two", "three"})
	var fifty []byte
	for at := 0; at < 50; at++ {
		answer, _, err := unary("Unary", []byte(fmt.Sprint(at)))
		if err != nil {
			panic(err)
		}
		fifty = append(fifty, answer...)
	}
	fact("fifty", nil, nil, fifty)
	var twenty [20][]byte
	var group sync.WaitGroup
	for at := range twenty {
		group.Add(1)
		go func(at int) {
			defer group.Done()
			twenty[at], _, _ = unary("Unary", []byte(fmt.Sprint(at)))
		}(at)
	}
	group.Wait()
	fact("twenty", nil, nil, []byte(fmt.Sprint(twenty)))
}

// Sends these messages and reads the answers to their end.
func streams(context context.Context, channel *grpc.ClientConn, method string, words []string) {
	kind := grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	stream, err := channel.NewStream(context, &kind, "/test.Echo/"+method)
	if err != nil {
		panic(err)
	}
	for _, word := range words {
		message := []byte(word)
		if err := stream.SendMsg(&message); err != nil {
			panic(err)
		}
	}
	stream.CloseSend()
	var all []byte
	for {
		var message []byte
		if err = stream.RecvMsg(&message); err != nil {
			break
		}
		all = append(all, message...)
	}
	if err == io.EOF {
		err = nil
	}
	fact(method, err, stream.Trailer(), all)
}
