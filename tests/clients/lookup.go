// Looks names up with Go's own resolver (built without cgo) and prints what
// lookup.c prints: a line for each, its name and its addresses, or the error.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
)

func main() {
	resolver := net.Resolver{PreferGo: true}
	for _, name := range os.Args[1:] {
		found, err := resolver.LookupIPAddr(context.Background(), name)
		fmt.Print(name)
		var problem *net.DNSError
		switch {
		case errors.As(err, &problem) && problem.IsNotFound:
			fmt.Print(" NONAME")
		case errors.As(err, &problem) && problem.Temporary():
			fmt.Print(" AGAIN")
		case err != nil:
			fmt.Print(" ", err)
		}
		for _, address := range found {
			fmt.Print(" ", address.IP)
		}
		fmt.Println()
	}
}
