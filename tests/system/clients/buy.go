// What Go's net/http does by default.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

func must[T any](found T, err error) T {
	if err != nil {
		panic(err)
	}
	return found
}

func main() {
	url, body := os.Args[1], fmt.Sprintf(`{"usuarioId": %s, "tokenId": %s}`, os.Args[2], os.Args[3])
	request := must(http.NewRequest("POST", url+"/compras", strings.NewReader(body)))
	for name, value := range map[string]string{
		"Content-Type": "application/json", "Idempotency-Key": os.Args[4], "Prefer": "wait=30",
	} {
		request.Header.Set(name, value)
	}
	bought := must(http.DefaultClient.Do(request))
	fmt.Println(bought.StatusCode, string(must(io.ReadAll(bought.Body))))
	for _, path := range []string{"", "/eventos"} {
		read := must(http.Get(url + bought.Header.Get("Location") + path))
		fmt.Println(read.StatusCode, string(must(io.ReadAll(read.Body))))
	}
}
