/* Looks names up as an application does, with the C library it is built with:
 * a line for each, its name and its addresses in order, or the error. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
        struct addrinfo *found = NULL;
        int err = getaddrinfo(argv[i], "80", &hints, &found);
        printf("%s", argv[i]);
        if (err == EAI_AGAIN) printf(" AGAIN");
        else if (err == EAI_NONAME) printf(" NONAME");
        else if (err) printf(" error %d", err);
        for (struct addrinfo *a = found; a; a = a->ai_next) {
            char text[INET6_ADDRSTRLEN] = "?";
            const void *ip = a->ai_family == AF_INET
                ? (const void *)&((struct sockaddr_in *)a->ai_addr)->sin_addr
                : (const void *)&((struct sockaddr_in6 *)a->ai_addr)->sin6_addr;
            inet_ntop(a->ai_family, ip, text, sizeof text);
            printf(" %s", text);
        }
        printf("\n");
    }
    return 0;
}
