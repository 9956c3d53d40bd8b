/* `floor PORT`: one write of the same bytes for whatever comes with one read. No server of HTTP/1.1 takes less CPU to say
   something than a process that looks at nothing. */

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS 256

static const char ANSWER[] = "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";

static int watch(int poll, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    return epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
}

static void accept_one(int poll, int listener) {
    int one = 1, fd = accept(listener, NULL, NULL);
    if (fd < 0)
        return;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) || watch(poll, fd))
        close(fd);
}

int main(int count, char **arguments) {
    static char read[65536];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event events[EVENTS];
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0), poll = epoll_create1(0);
    if (count != 2 || listener < 0 || poll < 0)
        return 2;
    address.sin_port = htons((unsigned short)atoi(arguments[1]));
    if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) ||
        bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 512) || watch(poll, listener))
        return 1;
    for (;;) {
        int ready = epoll_wait(poll, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == listener)
                accept_one(poll, fd);
            else if (recv(fd, read, sizeof read, 0) <= 0 || send(fd, ANSWER, sizeof ANSWER - 1, MSG_NOSIGNAL) < 0)
                close(fd);
        }
    }
}
