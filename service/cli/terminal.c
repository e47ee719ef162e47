/* Raw mode and back. Only async-signal-safe calls on the way back. */
#include "service/cli/terminal.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static struct {
    volatile sig_atomic_t raw;
    int fd;
    struct termios before, now;
} terminal;

/* Signals that end a process and leave the shell with whatever the terminal was set to. */
static const int fatal[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGTERM, SIGPIPE, SIGALRM,
                            SIGABRT, SIGSEGV, SIGBUS,  SIGFPE,  SIGILL,  SIGUSR1};

void terminal_restore(void)
{
    if (!terminal.raw)
        return;
    terminal.raw = 0;
    while (tcsetattr(terminal.fd, TCSADRAIN, &terminal.before) && errno == EINTR)
        ;
}

static void on_fatal(int signal_number)
{
    terminal_restore();
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

/* The shell that had us stopped set the terminal its own way. */
static void on_continue(int signal_number)
{
    int saved = errno;

    (void)signal_number;
    if (terminal.raw)
        tcsetattr(terminal.fd, TCSADRAIN, &terminal.now);
    errno = saved;
}

static void catch_signals(void)
{
    struct sigaction act = {.sa_handler = on_fatal};

    sigfillset(&act.sa_mask);
    for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++) {
        struct sigaction old;

        /* nohup's SIGHUP stays ignored */
        if (sigaction(fatal[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(fatal[i], &act, NULL);
    }
    act.sa_handler = on_continue;
    act.sa_flags = SA_RESTART;
    sigaction(SIGCONT, &act, NULL);
}

static bool change(int fd)
{
    terminal.fd = fd;
    atexit(terminal_restore);
    catch_signals();
    terminal.raw = 1;
    if (tcsetattr(fd, TCSADRAIN, &terminal.now)) {
        terminal_restore();
        return false;
    }
    return true;
}

bool terminal_raw(int fd)
{
    if (!isatty(fd) || tcgetattr(fd, &terminal.before))
        return false;
    terminal.now = terminal.before;
    cfmakeraw(&terminal.now);
    return change(fd);
}

bool terminal_keys(int fd)
{
    if (!isatty(fd) || tcgetattr(fd, &terminal.before))
        return false;
    terminal.now = terminal.before;
    terminal.now.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    return change(fd);
}

char *terminal_ask_secret(const char *prompt)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t len;

    if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &terminal.before))
        return NULL;
    terminal.fd = STDIN_FILENO;
    terminal.now = terminal.before;
    terminal.now.c_lflag &= ~(tcflag_t)ECHO;
    atexit(terminal_restore);
    catch_signals();
    terminal.raw = 1;
    if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &terminal.now)) {
        terminal_restore();
        return NULL;
    }
    fputs(prompt, stderr);
    len = getline(&line, &size, stdin);
    terminal_restore();
    fputc('\n', stderr);
    if (len < 0) {
        free(line);
        return NULL;
    }
    line[strcspn(line, "\r\n")] = '\0';
    return line;
}

unsigned terminal_columns(int fd)
{
    struct winsize size;

    return ioctl(fd, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

unsigned terminal_rows(int fd)
{
    struct winsize size;

    return ioctl(fd, TIOCGWINSZ, &size) == 0 ? size.ws_row : 0;
}
