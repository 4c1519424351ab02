// Times how long commands take from spawn to end, in turns, and prints the
// medians: coldstart ROUNDS RESOLV_CONF ROW...
//
// A row is a label and the words of a command, with a tab between each. The
// first command is what the others start; RESOLV_CONF is written to
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

// What it prints, as some do that are asked for their version, goes nowhere.
static double run_ms(char **words, const posix_spawn_file_actions_t *quiet) {
  pid_t pid;
  int status;
  double start = now_ms();
  if (posix_spawn(&pid, words[0], quiet, NULL, words, environ) != 0) die(words[0]);
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
    fprintf(stderr, "usage: coldstart ROUNDS RESOLV_CONF ROW...\n");
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

  char *words[commands][MOST_WORDS], *labels[commands];
  double *took[commands];
  for (int c = 0; c < commands; c++) {
    int n = 0;
    labels[c] = strtok(argv[3 + c], "\t");
    for (char *word = strtok(NULL, "\t"); word && n < MOST_WORDS - 1; word = strtok(NULL, "\t")) words[c][n++] = word;
    words[c][n] = NULL;
    took[c] = calloc(rounds, sizeof(double));
  }
  posix_spawn_file_actions_t quiet;
  posix_spawn_file_actions_init(&quiet);
  posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", O_WRONLY, 0);

  // The first round, which reads the files from disk, does not count.
  for (int round = -1; round < rounds; round++) {
    for (int c = 0; c < commands; c++) {
      put_resolv_conf(text, length);
      double ms = run_ms(words[c], &quiet);
      if (round >= 0) took[c][round] = ms;
    }
  }

  printf("%-28s %10s %10s %10s %12s\n", "ms, spawn to end", "median", "25 %", "75 %", "beyond true");
  double base = 0;
  for (int c = 0; c < commands; c++) {
    qsort(took[c], rounds, sizeof(double), by_value);
    double *row = took[c], median = row[rounds / 2];
    if (c == 0) base = median;
    printf("%-28s %10.3f %10.3f %10.3f %12.3f\n", labels[c], median, row[rounds / 4], row[rounds * 3 / 4], median - base);
  }
  return 0;
}
