#!/bin/sh
# gcloud for tests/readme_commands.rs: it knows the flags that README's commands may have, and
# says what each of them gets.
said="" format="" member=""
for word; do
  case $word in
    --source=caller | --region=us-east1 | --image=us-docker.pkg.dev/cloudrun/container/hello) ;;
    --allow-unauthenticated | --no-allow-unauthenticated | --role=roles/run.invoker) ;;
    --command=/runsd | --args=-check,hello | --execute-now | --wait) ;;
    --format=*) format=${word#*=} ;;
    --member=*) member=${word#*=} ;;
    -*) echo "gcloud: no flag $word" >&2; exit 2 ;;
    *) said="$said${said:+ }$word" ;;
  esac
done
case $said,$format in
  'run services describe caller,value(spec.template.spec.serviceAccountName)')
    echo 123456789012-compute@developer.gserviceaccount.com; exit ;;
  'run services describe caller,value(status.url)')
    echo https://caller-123456789012.us-east1.run.app; exit ;;
  'run services add-iam-policy-binding hello,')
    [ "$member" = serviceAccount:123456789012-compute@developer.gserviceaccount.com ] || exit 2 ;;
esac
echo "$said"
