// Times how long commands take from spawn to end, in turns, and prints the
// medians: coldstart ROUNDS RESOLV_CONF COMMAND...
//
// The first command is what the others start; RESOLV_CONF is written to
// /etc/resolv.conf before each. In C, because the measuring must be cheaper
// than what it measures.
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { MOST_WORDS = 16 };

static void die(const char *what) {
  perror(what);
  exit(1);
}

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void put_resolv_conf(const char *text, ssize_t length) {
  int file = open("/etc/resolv.conf", O_WRONLY | O_TRUNC);
  if (file < 0 || write(file, text, length) != length) die("/etc/resolv.conf");
  close(file);
}

static double run_ms(char **words) {
  pid_t pid;
  int status;
  double start = now_ms();
  if (posix_spawn(&pid, words[0], NULL, NULL, words, environ) != 0) die(words[0]);
  if (waitpid(pid, &status, 0) < 0) die("waitpid");
  double end = now_ms();
  if (status != 0) {
    fprintf(stderr, "%s: ended with status %#x; expected success\n", words[0], status);
    exit(1);
  }
  return end - start;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

int main(int argc, char **argv) {
  if (argc < 4) {
    fprintf(stderr, "usage: coldstart ROUNDS RESOLV_CONF COMMAND...\n");
    return 2;
  }
  int rounds = atoi(argv[1]), commands = argc - 3;
  if (rounds < 1) {
    fprintf(stderr, "got %s rounds; expected one or more\n", argv[1]);
    return 2;
  }
  char text[4096];
  int file = open(argv[2], O_RDONLY);
  ssize_t length = file < 0 ? -1 : read(file, text, sizeof text);
  if (length < 0) die(argv[2]);
  close(file);

  char *words[commands][MOST_WORDS];
  double *took[commands];
  for (int c = 0; c < commands; c++) {
    int n = 0;
    for (char *word = strtok(argv[3 + c], " "); word && n < MOST_WORDS - 1; word = strtok(NULL, " ")) words[c][n++] = word;
    words[c][n] = NULL;
    took[c] = calloc(rounds, sizeof(double));
  }

  // The first round, which reads the files from disk, does not count.
  for (int round = -1; round < rounds; round++) {
    for (int c = 0; c < commands; c++) {
      put_resolv_conf(text, length);
      double ms = run_ms(words[c]);
      if (round >= 0) took[c][round] = ms;
    }
  }

  printf("%-28s %10s %10s %10s\n", "ms, spawn to end", "median", "90 %", "beyond true");
  double base = 0;
  for (int c = 0; c < commands; c++) {
    qsort(took[c], rounds, sizeof(double), by_value);
    double median = took[c][rounds / 2];
    if (c == 0) base = median;
    const char *name = strrchr(words[c][0], '/') ? strrchr(words[c][0], '/') + 1 : words[c][0];
    char label[64];
    snprintf(label, sizeof label, "%s%s", name, c == 0 ? " (static)" : words[c][2] ? " -- true" : " true");
    printf("%-28s %10.3f %10.3f %10.3f\n", label, median, took[c][rounds * 9 / 10], median - base);
  }
  return 0;
}
