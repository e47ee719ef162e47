/* Signals as a question. */
#include "service/cli/interrupt.h"

#include <signal.h>
#include <stddef.h>
#include <unistd.h>

#define EXIT_SIGNAL 128

static volatile sig_atomic_t received;

static void on_signal(int number)
{
    if (received)
        _exit(EXIT_SIGNAL + number); /* who asks twice does not want to wait for a server */
    received = number;
}

void interrupt_watch(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART: waits are to end */
    struct sigaction old;

    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        /* nohup and background jobs of a script have them ignored: they stay so */
        if (sigaction(numbers[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            (void)sigaction(numbers[i], &action, NULL);
    }
    (void)signal(SIGPIPE, SIG_IGN);
}

int interrupt_signal(void)
{
    return received;
}
