# The package has files and no folders. $1 is 0 where it goes for good, and not for a newer one.
if [ "$1" -eq 0 ]; then
	for folder in /etc/portreeve /usr/share/portreeve /usr/share/doc/portreeve /usr/share/licenses/portreeve; do
		find "$folder" -depth -type d -empty -delete 2>/dev/null || :
	done
fi
# What was kept in /var/lib/portreeve stays, as is the habit of RPM: docs/install.md says how to remove it.
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload || :
